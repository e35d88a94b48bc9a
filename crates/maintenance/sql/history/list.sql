-- Kept and archived jobs in one order. A job is in one of both, at whatever moment this runs.
with kept as (
    select jobs.job_id,
           jobs.submitted_at,
           null::timestamptz as archived_at
    from snowpack.jobs
    where jobs.deleted_at is null
      and ($1::text is null or jobs.status = $1)
      and ($2::text is null or jobs.database_name = $2)
      and ($3::text is null or jobs.table_name = $3)
      and ($4::timestamptz is null or jobs.submitted_at >= $4)
      and ($5::timestamptz is null or (jobs.submitted_at, jobs.job_id) < ($5, $6))
      -- What jobs_not_completed needs to be used.
      and ($1 is null or $1 not in ('failed', 'cancelled') or jobs.reason is not null)
    order by jobs.submitted_at desc, jobs.job_id desc
    limit $7
),
archived as (
    select job_history.job_id,
           job_history.submitted_at,
           job_history.archived_at
    from snowpack.job_history
    where job_history.deleted_at is null
      and ($1::text is null or job_history.status = $1)
      and ($2::text is null or job_history.database_name = $2)
      and ($3::text is null or job_history.table_name = $3)
      and ($4::timestamptz is null or job_history.submitted_at >= $4)
      and ($5::timestamptz is null or (job_history.submitted_at, job_history.job_id) < ($5, $6))
    order by job_history.submitted_at desc, job_history.job_id desc
    limit $7
),
page as (
    select * from kept
    union all
    select * from archived
    order by submitted_at desc, job_id desc
    limit $7
)
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
       null::jsonb as plan,
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
       page.archived_at
from page
cross join lateral (
    select jobs.*
    from snowpack.jobs
    where page.archived_at is null
      and jobs.job_id = page.job_id
    union all
    select stored.*
    from snowpack.job_history
    cross join lateral jsonb_populate_record(null::snowpack.jobs, job_history.record) as stored
    where page.archived_at is not null
      and job_history.job_id = page.job_id
) as record
left join snowpack.job_queue on job_queue.job_id = page.job_id
order by page.submitted_at desc, page.job_id desc
