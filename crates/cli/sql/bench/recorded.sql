-- What waits has its result already, as if an attempt had ended between that and its own end:
-- whoever claims it finds nothing left to do.
insert into snowpack.job_actions (
    job_id, attempt_id, action, outcome, success, elapsed_seconds
)
select jobs.job_id, 'bench', 'purge_pending', 'nothing_to_do', true, 0
from snowpack.jobs
where jobs.completed_at is null
on conflict (job_id, action, attempt_id) do nothing
