-- The limit is for the claim that sweeps first, as in claim.sql.
with patience as materialized (
    select set_config(
        'lock_timeout',
        coalesce(nullif(current_setting('lock_timeout'), '0'), '5s'),
        true
    ) as limited
)
select
    exhausted,
    deadline,
    cancelled,
    reset,
    flipped,
    locks,
    queue_rows,
    next_job::text,
    next_key
from patience
cross join lateral {lane}.sweep_v1(
    case when limited is not null then $1::int end,
    $2::text::{id},
    $3
)
