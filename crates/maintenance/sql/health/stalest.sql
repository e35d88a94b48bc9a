-- The cache's tables nobody has looked at since $1: those nobody ever looked at, then longest ago
-- first. Who works through them by pages gives the last one of a page; what was looked at meanwhile
-- is behind $1. Both parts are read in the order of an index, as far as the page goes.
with never as (
    select entries.database_name,
           entries.table_name,
           '-infinity'::timestamptz as checked_at
    from snowpack.table_cache_entries as entries
    where ($2::timestamptz is null or $2 = '-infinity')
      and ($2 is null or (entries.database_name, entries.table_name) > ($3, $4))
      and not exists (
          select
          from snowpack.table_health as health
          where health.database_name = entries.database_name
            and health.table_name = entries.table_name
            -- So that what is behind the page is not read of either.
            and ($2 is null or (health.database_name, health.table_name) > ($3, $4))
      )
    order by entries.database_name, entries.table_name
    limit $5
),
once as (
    select health.database_name,
           health.table_name,
           health.checked_at
    from snowpack.table_health as health
    -- One look for each row of the page: a join would be planned for all of them.
    cross join lateral (
        select
        from snowpack.table_cache_entries as entries
        where entries.database_name = health.database_name
          and entries.table_name = health.table_name
        limit 1
    ) as kept
    where health.checked_at < $1
      and (
          $2 is null
          or (health.checked_at, health.database_name, health.table_name) > ($2, $3, $4)
      )
    order by health.checked_at, health.database_name, health.table_name
    limit $5
),
waiting as (
    select * from never
    union all
    select * from once
)
select *
from waiting
order by checked_at, database_name, table_name
limit $5
