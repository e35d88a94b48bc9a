-- The sort key is fixed here, so that waiting never needs to be turned into urgency by a job of
-- its own: one class is worth ten minutes of age.
insert into {lane}.job_queue (
    job_id,
    visible_at,
    scheduled,
    priority,
    sort_key,
    pool,
    max_attempts,
    concurrency_key,
    deadline_at
)
select
    item.job_id::{id},
    now() + make_interval(secs => item.delay_seconds),
    item.delay_seconds > 0,
    item.priority,
    now() + make_interval(secs => item.delay_seconds, mins => 10 * item.priority),
    item.pool,
    item.max_attempts,
    item.concurrency_key,
    now() + make_interval(secs => item.deadline_seconds)
from unnest($1::text[], $2::text[], $3::smallint[], $4::float8[], $5::int[], $6::text[], $7::float8[])
    as item (
        job_id, pool, priority, delay_seconds, max_attempts, concurrency_key, deadline_seconds
    )
