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
where ($1::text is null or entries.database_name = $1)
  and ($2::boolean is null or entries.maintenance_enabled = $2)
  and (not $7::boolean or entries.maintenance_enabled is null)
  and ($3::real is null or table_health.score < $3)
  and ($4::text is null or (entries.database_name, entries.table_name) > ($4, $5))
order by entries.database_name, entries.table_name
limit $6
