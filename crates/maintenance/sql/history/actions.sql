select stored.action,
       stored.attempt_id,
       stored.outcome,
       stored.error,
       stored.message,
       stored.elapsed_seconds,
       stored.created_at,
       stored.result
from snowpack.job_history
cross join lateral jsonb_populate_recordset(null::snowpack.job_actions, job_history.actions)
    as stored
where job_history.job_id = $1
  and job_history.deleted_at is null
order by stored.created_at
