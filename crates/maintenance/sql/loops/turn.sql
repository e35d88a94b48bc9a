-- The lock is taken first: `materialized` keeps the look at the last pass behind it.
with locked as materialized (
    select pg_try_advisory_xact_lock(hashtextextended('snowpack loop ' || $1, 0)) as got
)
select got
       and not exists (
           select
           from snowpack.loops
           where name = $1
             and started_at > clock_timestamp() - make_interval(secs => $2)
       ) as mine
from locked
