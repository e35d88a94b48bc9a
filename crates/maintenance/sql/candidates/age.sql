select extract(epoch from now() - last_synced_at)::float8 as age_seconds
from snowpack.table_cache_meta
where id = 1
