-- Pending and running jobs alone have a queue row: what ended is never looked at. Without the
-- plans, which may be large.
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
       jobs.retry_of,
       jobs.attempt_timeout_seconds,
       jobs.submitted_at,
       jobs.started_at,
       jobs.completed_at,
       job_queue.pool,
       job_queue.priority,
       job_queue.attempt_count,
       job_queue.max_attempts,
       job_queue.hand_back_count,
       job_queue.visible_at,
       job_queue.claimed_by,
       job_queue.cancel_requested_at is not null as cancel_requested
from snowpack.jobs
join snowpack.job_queue on job_queue.job_id = jobs.job_id
where jobs.deleted_at is null
  and ($1::text is null or jobs.status = $1)
  and ($2::text is null or jobs.database_name = $2)
  and ($3::text is null or jobs.table_name = $3)
  and ($4::timestamptz is null or jobs.submitted_at >= $4)
  and ($5::timestamptz is null or (jobs.submitted_at, jobs.job_id) < ($5, $6))
order by jobs.submitted_at desc, jobs.job_id desc
limit $7
