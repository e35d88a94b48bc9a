-- The counters are counted, so that they are true whatever was lost on the way here.
with run as materialized (
    select run_id
    from snowpack.orchestrator_runs
    where run_id = $1
      and status = 'running'
    for no key update
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
set status = $2,
    completed_at = clock_timestamp(),
    seen_at = clock_timestamp(),
    error = $3,
    note = $4,
    payload = closed.payload || $5,
    tables_assessed = counted.assessed,
    tables_healthy = counted.healthy,
    tables_skipped = counted.skipped,
    jobs_submitted = counted.submitted,
    settled_at = case when counted.submitted = 0 then clock_timestamp() end
from counted
where closed.run_id = counted.run_id
