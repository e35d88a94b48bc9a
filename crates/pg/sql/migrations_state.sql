-- The strictest demand of any migration holds, not the last one's.
select max(number), max(oldest_binary_schema)
from {lane}.schema_migrations
having count(*) > 0
