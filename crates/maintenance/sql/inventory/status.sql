select last_synced_at,
       extract(epoch from clock_timestamp() - last_synced_at)::double precision as age_seconds,
       attempted_at,
       outcome,
       error,
       failed_namespaces,
       table_count,
       unreadable_count,
       elapsed_seconds
from snowpack.table_cache_meta
where id = 1
