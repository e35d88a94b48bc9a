select status
from snowpack.jobs
where job_id = $1
  and attempt_id = $2
  and completed_at is not null
