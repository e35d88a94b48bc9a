-- In the order they were decided: the most wanted first.
select decision.run_id,
       decision.database_name,
       decision.table_name,
       decision.decision,
       decision.reason,
       decision.why,
       decision.actions,
       decision.job_id,
       job.status as job_status,
       job.error as job_error,
       decision.score,
       decision.decided_at
from snowpack.orchestrator_decisions as decision
left join lateral (
    select jobs.status,
           jobs.error
    from snowpack.jobs
    where jobs.job_id = decision.job_id
    union all
    select job_history.status,
           job_history.record ->> 'error'
    from snowpack.job_history
    where job_history.job_id = decision.job_id
    limit 1
) as job on true
where decision.run_id = $1
  and decision.decision = 'submit'
order by decision.decided_at, decision.database_name, decision.table_name
limit $2
