select count(*) as staged
from snowpack.table_cache_changes
where sync_id = $1
