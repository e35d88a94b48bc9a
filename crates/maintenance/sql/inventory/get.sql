select entries.database_name,
       entries.table_name,
       entries.maintenance_enabled,
       entries.payload,
       entries.synced_at,
       table_health.score
from snowpack.table_cache as entries
left join snowpack.table_health
    on table_health.database_name = entries.database_name
   and table_health.table_name = entries.table_name
where entries.database_name = $1
  and entries.table_name = $2
