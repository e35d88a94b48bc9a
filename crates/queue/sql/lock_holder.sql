select table_key, holder::text
from {lane}.table_locks
where table_key = any ($1)
order by table_key
for update
