-- Without pools: of all, which is one count.
select
    sum(depth.ready)::bigint as ready,
    sum(depth.running)::bigint as running,
    sum(depth.demand)::bigint as demand,
    sum(depth.scheduled)::bigint as scheduled,
    max(depth.oldest_ready_seconds) as oldest_ready_seconds,
    sum(depth.exhausted)::bigint as exhausted,
    (
        select count(distinct q.claimed_by)
        from {lane}.job_queue as q
        where q.claimed_at is not null
          and q.visible_at > now()
          and (coalesce(cardinality($1), 0) = 0 or q.pool = any ($1))
    ) as busy
from unnest(coalesce(nullif($1::text[], array[]::text[]), array[null])) as asked (pool)
cross join lateral {lane}.depth_v1(asked.pool, $2) as depth
