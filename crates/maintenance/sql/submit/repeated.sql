-- What a job asked for, wherever its record lies by now.
with kept as (
    select jobs.*
    from snowpack.jobs
    where jobs.job_id = $1
      and jobs.deleted_at is null
    union all
    select archived.*
    from snowpack.job_history
    cross join jsonb_populate_record(null::snowpack.jobs, job_history.record) as archived
    where job_history.job_id = $1
      and job_history.deleted_at is null
)
select database_name,
       table_name,
       actions,
       options,
       dry_run,
       status,
       attempt_timeout_seconds,
       pool,
       priority,
       max_attempts
from kept
limit 1
