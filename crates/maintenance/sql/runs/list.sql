-- One run by its number ($1), or those before one ($2). Until a run is settled its jobs are looked
-- at; after that its own counters stand.
with run as materialized (
    select *
    from snowpack.orchestrator_runs
    where ($1::bigint is null or run_id = $1)
      and ($2::bigint is null or run_id < $2)
    order by run_id desc
    limit $3
)
select run.run_id,
       run.status,
       run.started_at,
       run.completed_at,
       run.seen_at,
       run.dry_run,
       run.triggered_by,
       run.tables_assessed,
       run.tables_skipped,
       run.tables_healthy,
       case when run.settled_at is null then job.submitted::integer else run.jobs_submitted end
           as jobs_submitted,
       case when run.settled_at is null then job.completed::integer else run.jobs_completed end
           as jobs_completed,
       case when run.settled_at is null then job.failed::integer else run.jobs_failed end
           as jobs_failed,
       run.error,
       run.note,
       run.payload
from run
left join lateral (
    select count(*) as submitted,
           count(*) filter (where made.job_status = 'completed') as completed,
           count(*) filter (where made.job_status = 'failed') as failed
    from snowpack.decisions as made
    where run.settled_at is null
      and made.run_id = run.run_id
      and made.decision = 'submit'
      and made.job_id is not null
) as job on true
order by run.run_id desc
