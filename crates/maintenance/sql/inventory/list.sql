-- The score of each row of the page only: a join would be planned for all of them.
select entries.database_name,
       entries.table_name,
       entries.maintenance_enabled,
       entries.payload,
       entries.synced_at,
       (
           select table_health.score
           from snowpack.table_health
           where table_health.database_name = entries.database_name
             and table_health.table_name = entries.table_name
       ) as score
from snowpack.table_cache as entries
where ($1::text is null or entries.database_name = $1)
  and ($2::boolean is null or entries.maintenance_enabled = $2)
  and (not $6::boolean or entries.maintenance_enabled is null)
  and ($3::text is null or (entries.database_name, entries.table_name) > ($3, $4))
order by entries.database_name, entries.table_name
limit $5
