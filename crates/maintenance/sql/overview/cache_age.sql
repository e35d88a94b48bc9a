select extract(epoch from clock_timestamp() - last_synced_at)::float8 as seconds
from snowpack.table_cache_meta
where id = 1
