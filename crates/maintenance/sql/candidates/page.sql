-- The documents as text: most are never read.
select entry.database_name,
       entry.table_name,
       entry.payload::text as content,
       entry.synced_at < now() - make_interval(secs => $4) as stale,
       health.payload::text as health,
       health.score,
       (extract(epoch from health.assessed_at) * 1000)::bigint as assessed_ms,
       health.error as health_error
from snowpack.table_cache as entry
left join snowpack.table_health as health
    on health.database_name = entry.database_name
   and health.table_name = entry.table_name
where ($1::text is null or (entry.database_name, entry.table_name) > ($1, $2))
order by entry.database_name, entry.table_name
limit $3
