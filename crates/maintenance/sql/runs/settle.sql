-- Jobs that ended since, also those that outlived operational retention.
with run as materialized (
    select run_id
    from snowpack.orchestrator_runs
    where settled_at is null
      and completed_at is not null
    order by run_id desc
    limit $1
    for no key update skip locked
),
counted as (
    select run.run_id,
           count(*) filter (where made.job_status = 'completed') as completed,
           count(*) filter (where made.job_status = 'failed') as failed,
           count(*) filter (where made.job_status in ('pending', 'running')) as live
    from run
    join snowpack.decisions as made
        on made.run_id = run.run_id
       and made.decision = 'submit'
       and made.job_id is not null
    group by run.run_id
)
update snowpack.orchestrator_runs as settled
set jobs_completed = counted.completed,
    jobs_failed = counted.failed,
    settled_at = case when counted.live = 0 then clock_timestamp() end
from counted
where settled.run_id = counted.run_id
