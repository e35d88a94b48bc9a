-- What is read page by page is read in the order of an index.

-- For health sync: the table that waited longest goes first.
create index table_health_by_look
    on snowpack.table_health (checked_at, database_name, table_name);

-- What runs decided, and what became of each job: kept or archived, it is found by its id.
create view snowpack.decisions as
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
) as job on true;
