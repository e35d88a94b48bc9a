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
from {lane}.sweep_v1($1, $2::text::{id}, $3)
