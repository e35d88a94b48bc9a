-- The cache's tables nobody has looked at since $1, longest ago first. Who works through them by
-- pages gives the last one of a page; what was looked at meanwhile is behind $1.
with waiting as (
    select entries.database_name,
           entries.table_name,
           coalesce(health.checked_at, '-infinity') as checked_at
    from snowpack.table_cache_entries as entries
    left join snowpack.table_health as health using (database_name, table_name)
)
select database_name,
       table_name,
       checked_at::text as checked_at
from waiting
where checked_at < $1
  and ($2::text is null or (checked_at, database_name, table_name) > ($2::timestamptz, $3, $4))
order by checked_at, database_name, table_name
limit $5
