-- From the health, in the order of the listing or by the score, whichever reads less; each entry
-- with one look of its own: a plain join would be planned for all of them.
select table_health.database_name,
       table_health.table_name,
       entries.maintenance_enabled,
       entries.payload,
       entries.synced_at,
       table_health.score
from snowpack.table_health
cross join lateral (
    select table_cache.*
    from snowpack.table_cache
    where table_cache.database_name = table_health.database_name
      and table_cache.table_name = table_health.table_name
    limit 1
) as entries
where ($1::text is null or table_health.database_name = $1)
  and ($2::boolean is null or entries.maintenance_enabled = $2)
  and (not $6::boolean or entries.maintenance_enabled is null)
  and (
      $3::text is null
      or (table_health.database_name, table_health.table_name) > ($3, $4)
  )
  and table_health.score < $7::real
order by table_health.database_name, table_health.table_name
limit $5
