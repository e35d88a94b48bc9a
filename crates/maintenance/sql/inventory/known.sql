select table_name,
       maintenance_enabled,
       payload
from snowpack.table_cache_entries
where database_name = $1
  and table_name = any ($2::text[])
