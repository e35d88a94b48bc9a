-- Pending and running jobs alone have a queue row: enqueued as the job is submitted, claimed as it
-- runs. So the queue says which are on the page, and only their records are read, one by one: a
-- join was planned as a merge by the job's id, which passed over every job that ended. Without the
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
from (
    select *
    from snowpack.job_queue
    where (job_queue.claimed_at is not null) = ($1::text = 'running')
      and ($4::timestamptz is null or job_queue.enqueued_at >= $4)
      and ($5::timestamptz is null or (job_queue.enqueued_at, job_queue.job_id) < ($5, $6))
) as job_queue
cross join lateral (
    select jobs.*
    from snowpack.jobs
    where jobs.job_id = job_queue.job_id
      and jobs.status = $1
      and jobs.deleted_at is null
      and ($2::text is null or jobs.database_name = $2)
      and ($3::text is null or jobs.table_name = $3)
    limit 1
) as jobs
order by job_queue.enqueued_at desc, job_queue.job_id desc
limit $7
