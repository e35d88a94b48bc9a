select job_id,
       action,
       attempt_id,
       outcome,
       error,
       message,
       elapsed_seconds,
       created_at,
       result
from snowpack.job_actions
where job_id = any($1)
order by created_at
