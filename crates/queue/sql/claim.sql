-- A lock is not waited for as long as a worker waits for its claim: what was committed after that
-- would be an attempt of nobody's. The limit is read when a wait begins, so it must come first.
with patience as materialized (
    select set_config(
        'lock_timeout',
        coalesce(nullif(current_setting('lock_timeout'), '0'), '5s'),
        true
    ) as limited
)
select
    job_id::text,
    attempt_id,
    attempt_count,
    max_attempts,
    hand_back_count,
    pool,
    priority,
    sort_key,
    concurrency_key,
    deadline_seconds,
    age_seconds,
    ended
from patience
cross join lateral {lane}.claim_v1(
    case when limited is not null then $1::int end,
    make_interval(secs => $2),
    $3,
    $4,
    $5
)
