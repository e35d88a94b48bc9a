select entries.database_name,
       entries.table_name,
       entries.maintenance_enabled,
       entries.payload,
       entries.synced_at,
       table_health.score
from snowpack.table_cache as entries
join snowpack.table_health
    on table_health.database_name = entries.database_name
   and table_health.table_name = entries.table_name
where ($1::text is null or entries.database_name = $1)
  and ($2::boolean is null or entries.maintenance_enabled = $2)
  and (not $6::boolean or entries.maintenance_enabled is null)
  and ($3::text is null or (entries.database_name, entries.table_name) > ($3, $4))
  -- The same of the other side, which the planner cannot work out by itself.
  and ($3 is null or (table_health.database_name, table_health.table_name) > ($3, $4))
  and table_health.score < $7::real
order by entries.database_name, entries.table_name
limit $5
