-- Without the plans, which may be large. An attempt has an id of its own, so the pairs need not be told.
select jobs.job_id,
       jobs.database_name,
       jobs.table_name,
       jobs.actions,
       jobs.options,
       jobs.dry_run,
       jobs.status,
       jobs.reason,
       jobs.error,
       jobs.attempt_id,
       null::jsonb as plan,
       jobs.submitted_by,
       jobs.idempotency_key,
       jobs.trace_context,
       jobs.attempt_timeout_seconds,
       jobs.retry_of,
       jobs.submitted_at,
       jobs.started_at,
       jobs.completed_at,
       job_queue.attempt_id as claimed_as,
       job_queue.pool,
       job_queue.priority,
       job_queue.attempt_count,
       job_queue.max_attempts,
       job_queue.hand_back_count,
       job_queue.visible_at,
       job_queue.claimed_by,
       job_queue.cancel_requested_at is not null as cancel_requested
from snowpack.job_queue
join snowpack.jobs on jobs.job_id = job_queue.job_id
where job_queue.job_id = any($1)
  and job_queue.attempt_id = any($2)
  and jobs.completed_at is null
