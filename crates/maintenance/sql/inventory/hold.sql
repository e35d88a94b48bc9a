-- One swap at a time; readers go on.
select generation
from snowpack.table_cache_meta
where id = 1
for update
