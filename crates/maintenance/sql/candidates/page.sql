-- The documents as text: most are never read. One table ($5, $6), or those after one ($1, $2).
select entry.database_name,
       entry.table_name,
       entry.payload::text as content,
       entry.synced_at < now() - make_interval(secs => $4) as stale,
       entry.synced_at,
       health.payload::text as health,
       -- A look that found nothing new counts, one that failed does not.
       (extract(
           epoch from case when health.error is null then health.checked_at else health.assessed_at end
       ) * 1000)::bigint as assessed_ms,
       health.error as health_error
from snowpack.table_cache as entry
-- One look into the index for each row of the page: a plain join would be planned for all tables,
-- and read half of them for a page in the middle.
left join lateral (
    select table_health.*
    from snowpack.table_health
    where table_health.database_name = entry.database_name
      and table_health.table_name = entry.table_name
    limit 1
) as health on true
where ($1::text is null or (entry.database_name, entry.table_name) > ($1, $2))
  and ($5::text is null or (entry.database_name = $5 and entry.table_name = $6))
order by entry.database_name, entry.table_name
limit $3
