select cancel_requested_at is not null as cancel_requested
from snowpack.job_queue
where job_id = $1
  and attempt_id = $2
