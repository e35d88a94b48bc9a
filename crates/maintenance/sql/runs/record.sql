insert into snowpack.orchestrator_decisions (
    run_id, database_name, table_name, decision, reason, why, actions, job_id, score
)
select $1,
       made.database_name,
       made.table_name,
       made.decision,
       made.reason,
       made.why,
       made.actions,
       made.job_id,
       made.score
from jsonb_to_recordset($2) as made (
    database_name text, table_name text, decision text, reason text, why text, actions text[],
    job_id text, score real
)
