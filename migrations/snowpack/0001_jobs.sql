-- The records: what was asked, what became of it, and every action that ran. A job's queue row
-- (number 2, from migrations/queue) lives as long as the job is pending or running; its record stays.

create table snowpack.jobs (
    job_id text primary key,
    database_name text not null,
    table_name text not null,
    actions text[] not null,
    dry_run boolean not null,
    status text not null,
    submitted_at timestamptz not null default now(),
    started_at timestamptz,
    completed_at timestamptz,
    error text,
    attempt_id text,
    deleted_at timestamptz,
    created_at timestamptz default now(),
    -- Why a job did not complete.
    reason text,
    -- {action: {option: value}} as asked.
    options jsonb not null default '{}',
    -- {action: plan}, each as it was made before anything was changed.
    plan jsonb,
    submitted_by text not null,
    idempotency_key text,
    -- What was asked under the idempotency key, as "v1:" and a sha256 in hex.
    request_hash text not null,
    -- W3C traceparent of whoever submitted.
    trace_context text,
    -- How long one attempt may take; null is the worker's default.
    attempt_timeout_seconds integer,
    constraint jobs_status_check
        check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
    constraint jobs_reason_check
        check (reason in ('action_failed', 'exhausted', 'deadline', 'timeout', 'cancelled')),
    constraint jobs_actions_check
        check (
            cardinality(actions) > 0
            and actions <@ array[
                'expire_snapshots', 'rewrite_position_delete_files', 'rewrite_data_files',
                'remove_dangling_deletes', 'rewrite_manifests', 'remove_orphan_files',
                'purge_pending'
            ]
        ),
    constraint jobs_completed_check
        check ((status in ('completed', 'failed', 'cancelled')) = (completed_at is not null)),
    constraint jobs_ended_check
        check ((status in ('failed', 'cancelled')) = (reason is not null)),
    constraint jobs_deleted_check
        check (deleted_at is null or completed_at is not null),
    constraint jobs_attempt_timeout_check check (attempt_timeout_seconds > 0),
    constraint jobs_idempotency_key unique (submitted_by, idempotency_key)
) with (
    -- Every job's row is updated at claim and at its end: room on the page keeps both updates
    -- off the indexes (measured: a quarter less WAL).
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 500
);

create index idx_jobs_visible on snowpack.jobs (submitted_at desc, job_id desc)
    where deleted_at is null;

create index jobs_by_table
    on snowpack.jobs (database_name, table_name, submitted_at desc, job_id desc)
    where deleted_at is null;

create table snowpack.job_actions (
    job_id text not null references snowpack.jobs (job_id),
    action text not null,
    success boolean not null,
    error text,
    message text,
    elapsed_seconds real not null,
    created_at timestamptz not null default clock_timestamp(),
    attempt_id text not null,
    outcome text not null,
    result jsonb,
    primary key (job_id, action, created_at),
    -- A retry after a lost answer writes nothing twice; a failed try and its retry are two rows.
    constraint job_actions_attempt unique (job_id, action, attempt_id),
    constraint job_actions_action_check
        check (action in (
            'expire_snapshots', 'rewrite_position_delete_files', 'rewrite_data_files',
            'remove_dangling_deletes', 'rewrite_manifests', 'remove_orphan_files',
            'purge_pending'
        )),
    constraint job_actions_outcome_check
        check (outcome in ('done', 'nothing_to_do', 'failed', 'skipped')),
    constraint job_actions_success_check
        check (success = (outcome in ('done', 'nothing_to_do'))),
    constraint job_actions_error_check check ((outcome = 'failed') = (error is not null))
);

-- The records' side of the queue: called inside the queue's own statements, for rows whose queue
-- row that statement holds. An ended record stays as it is, whatever its queue row says: one row
-- left behind by hand must not fail the statement, and with it everybody's claims.

create function snowpack.record_claimed(ids text[], attempt_ids text[])
returns void
language sql
as $$
    update snowpack.jobs
    set status = 'running',
        started_at = coalesce(jobs.started_at, now()),
        attempt_id = claimed.attempt_id
    from unnest(ids, attempt_ids) as claimed (job_id, attempt_id)
    where jobs.job_id = claimed.job_id
      and jobs.completed_at is null
$$;

create function snowpack.record_reset(ids text[])
returns void
language sql
as $$
    update snowpack.jobs
    set status = 'pending',
        attempt_id = null
    where jobs.job_id = any (ids)
      and jobs.completed_at is null
$$;

-- The last attempt stays named in an ended record: whoever lost the answer to its own finish
-- recognises it by that.
create function snowpack.record_ended(
    ids text[], statuses text[], reasons text[], errors text[]
)
returns void
language sql
as $$
    update snowpack.jobs
    set status = ended.status,
        reason = ended.reason,
        error = ended.error,
        completed_at = now()
    from unnest(ids, statuses, reasons, errors) as ended (job_id, status, reason, error)
    where jobs.job_id = ended.job_id
      and jobs.completed_at is null
$$;

create function snowpack.record_live(ids text[])
returns setof text
language sql
stable
as $$
    select jobs.job_id
    from snowpack.jobs
    where jobs.job_id = any (ids)
      and jobs.completed_at is null
$$;
