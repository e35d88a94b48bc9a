select gen_random_uuid() as sync_id,
       meta.generation,
       clock_timestamp() as started_at
from snowpack.table_cache_meta as meta
where meta.id = 1
