update snowpack.job_history
set deleted_at = now()
where job_id = $1
  and deleted_at is null
