select database_name,
       count(*) as table_count
from snowpack.table_cache_entries
group by database_name
order by database_name
