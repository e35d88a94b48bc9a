-- Processes that hold at least one live lease.
select count(distinct claimed_by) as workers
from {lane}.job_queue
where claimed_at is not null
  and visible_at > now()
