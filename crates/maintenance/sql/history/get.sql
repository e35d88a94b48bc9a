select record.job_id,
       record.database_name,
       record.table_name,
       record.actions,
       record.options,
       record.dry_run,
       record.status,
       record.reason,
       record.error,
       record.attempt_id,
       record.plan as plan,
       record.submitted_by,
       record.idempotency_key,
       record.trace_context,
       record.retry_of,
       record.attempt_timeout_seconds,
       record.submitted_at,
       record.started_at,
       record.completed_at,
       job_queue.pool,
       job_queue.priority,
       job_queue.attempt_count,
       job_queue.max_attempts,
       job_queue.hand_back_count,
       job_queue.visible_at,
       job_queue.claimed_by,
       job_queue.cancel_requested_at is not null as cancel_requested,
       job_history.archived_at
from snowpack.job_history
cross join lateral jsonb_populate_record(null::snowpack.jobs, job_history.record) as record
left join snowpack.job_queue on job_queue.job_id = job_history.job_id
where job_history.job_id = $1
  and job_history.deleted_at is null
