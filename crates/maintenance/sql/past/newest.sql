-- Bounded, though a dry run is not counted.
select latest.job_id
from (
    select jobs.job_id,
           jobs.submitted_at,
           jobs.dry_run
    from snowpack.jobs
    where jobs.database_name = $1
      and jobs.table_name = $2
      and jobs.deleted_at is null
      and jobs.job_id <> $3
    order by jobs.submitted_at desc, jobs.job_id desc
    limit $4
) as latest
where not latest.dry_run
order by latest.submitted_at desc, latest.job_id desc
limit 1
