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
from {lane}.claim_one_v1($1::text::{id}, make_interval(secs => $2), $3)
