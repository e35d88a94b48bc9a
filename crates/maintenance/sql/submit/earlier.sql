select job_id,
       request_hash
from snowpack.jobs
where submitted_by = $1
  and idempotency_key = $2
