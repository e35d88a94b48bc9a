-- What a worker asks for every batch of jobs, as functions whose statements a connection plans once:
-- in `language sql`, or sent as text, each was planned every time, which took longer than to run it.
-- The planner is pinned as for the lane's own functions, which call them.

create or replace function snowpack.record_claimed(ids text[], attempt_ids text[])
returns void
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
    update snowpack.jobs
    set status = 'running',
        started_at = coalesce(jobs.started_at, now()),
        attempt_id = claimed.attempt_id
    from unnest(ids, attempt_ids) as claimed (job_id, attempt_id)
    where jobs.job_id = claimed.job_id
      and jobs.completed_at is null;
end
$$;

-- The last attempt stays named in an ended record: whoever lost the answer to its own finish
-- recognises it by that.
create or replace function snowpack.record_ended(
    ids text[], statuses text[], reasons text[], errors text[]
)
returns void
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
    update snowpack.jobs
    set status = ended.status,
        reason = ended.reason,
        error = ended.error,
        completed_at = now()
    from unnest(ids, statuses, reasons, errors) as ended (job_id, status, reason, error)
    where jobs.job_id = ended.job_id
      and jobs.completed_at is null;
end
$$;

-- The jobs of claims, without their plans, which may be large. An attempt has an id of its own, so
-- the pairs need not be told.
create function snowpack.claimed_jobs_v1(p_ids text[], p_attempts text[])
returns table (
    job_id text,
    database_name text,
    table_name text,
    actions text[],
    options jsonb,
    dry_run boolean,
    status text,
    reason text,
    error text,
    attempt_id text,
    plan jsonb,
    submitted_by text,
    idempotency_key text,
    trace_context text,
    attempt_timeout_seconds int,
    retry_of text,
    submitted_at timestamptz,
    started_at timestamptz,
    completed_at timestamptz,
    claimed_as text,
    pool text,
    priority smallint,
    attempt_count int,
    max_attempts int,
    hand_back_count int,
    visible_at timestamptz,
    claimed_by text,
    cancel_requested boolean
)
language plpgsql
stable
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
    return query
    select
        jobs.job_id, jobs.database_name, jobs.table_name, jobs.actions, jobs.options,
        jobs.dry_run, jobs.status, jobs.reason, jobs.error, jobs.attempt_id, null::jsonb,
        jobs.submitted_by, jobs.idempotency_key, jobs.trace_context,
        jobs.attempt_timeout_seconds, jobs.retry_of, jobs.submitted_at, jobs.started_at,
        jobs.completed_at, claimed.attempt_id, claimed.pool, claimed.priority,
        claimed.attempt_count, claimed.max_attempts, claimed.hand_back_count,
        claimed.visible_at, claimed.claimed_by, claimed.cancel_requested_at is not null
    from snowpack.job_queue as claimed
    join snowpack.jobs on jobs.job_id = claimed.job_id
    where claimed.job_id = any (p_ids)
      and claimed.attempt_id = any (p_attempts)
      and jobs.completed_at is null;
end
$$;
