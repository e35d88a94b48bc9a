-- For KEDA's `postgresql` trigger: one number, never null, on an empty lane too. Its target is `slots`, the jobs one
-- worker takes; a busy worker counts with all of them, so that KEDA never asks for fewer than are busy.
with asked as (select null::text[] as pools, 1 as slots)
select greatest(
    (
        select sum(depth.demand)
        from unnest(coalesce(asked.pools, array[null])) as served (pool)
        cross join lateral {lane}.depth_v1(served.pool) as depth
    ),
    asked.slots * (
        select count(distinct q.claimed_by)
        from {lane}.job_queue as q
        where q.claimed_at is not null
          and q.visible_at > now()
          and (asked.pools is null or q.pool = any (asked.pools))
    )
)::bigint as demand
from asked
