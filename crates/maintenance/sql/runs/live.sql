select count(*) as jobs
from snowpack.orchestrator_decisions as decision
join snowpack.jobs on jobs.job_id = decision.job_id
where decision.run_id = $1
  and decision.decision = 'submit'
  and jobs.completed_at is null
