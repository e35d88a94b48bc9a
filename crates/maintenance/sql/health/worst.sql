-- The cache's tables, the worst first; those without a score last.
select entries.database_name,
       entries.table_name,
       health.health_snapshot_id,
       health.payload,
       health.score,
       health.needs_maintenance,
       health.assessed_at,
       health.checked_at,
       health.error,
       coalesce(health.failure_count, 0) as failure_count
from snowpack.table_cache_entries as entries
left join snowpack.table_health as health using (database_name, table_name)
where $1::text is null or entries.database_name = $1
order by health.score nulls last, entries.database_name, entries.table_name
limit $2
