-- The newest kept one, or the newest archived one: each a look into an index.
select latest.job_id
from (
    (
        select jobs.job_id,
               jobs.submitted_at
        from snowpack.jobs
        where jobs.database_name = $1
          and jobs.table_name = $2
          and jobs.deleted_at is null
          and not jobs.dry_run
          and jobs.job_id <> $3
        order by jobs.submitted_at desc, jobs.job_id desc
        limit 1
    )
    union all
    (
        select job_history.job_id,
               job_history.submitted_at
        from snowpack.job_history
        where job_history.database_name = $1
          and job_history.table_name = $2
          and job_history.deleted_at is null
          and not job_history.dry_run
        order by job_history.submitted_at desc, job_history.job_id desc
        limit 1
    )
) as latest
order by latest.submitted_at desc, latest.job_id desc
limit 1
