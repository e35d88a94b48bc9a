select count(*) as tables
from snowpack.table_cache_entries
