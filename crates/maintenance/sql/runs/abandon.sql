-- A run that is seen again after this ends itself: its next `seen` finds it closed.
with run as materialized (
    select run_id
    from snowpack.orchestrator_runs
    where completed_at is null
      and seen_at < clock_timestamp() - make_interval(secs => $1)
    order by seen_at
    limit $2
    for no key update skip locked
),
counted as (
    select run.run_id,
           count(decision.run_id) as assessed,
           count(*) filter (where decision.reason = 'healthy') as healthy,
           count(*) filter (where decision.decision = 'skip' and decision.reason <> 'healthy')
               as skipped,
           count(decision.job_id) as submitted
    from run
    left join snowpack.orchestrator_decisions as decision on decision.run_id = run.run_id
    group by run.run_id
)
update snowpack.orchestrator_runs as closed
set status = 'abandoned',
    completed_at = clock_timestamp(),
    error = 'nothing was heard of it after ' || to_char(closed.seen_at at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS')
        || '; it was killed or cut off',
    tables_assessed = counted.assessed,
    tables_healthy = counted.healthy,
    tables_skipped = counted.skipped,
    jobs_submitted = counted.submitted,
    settled_at = case when counted.submitted = 0 then clock_timestamp() end
from counted
where closed.run_id = counted.run_id
returning closed.run_id
