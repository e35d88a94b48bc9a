update snowpack.jobs
set deleted_at = now()
where job_id = $1
  and deleted_at is null
  and completed_at is not null
