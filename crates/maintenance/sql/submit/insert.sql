-- A job that is ended already was planned by whoever submitted it: no queue row follows.
insert into snowpack.jobs (
    job_id, database_name, table_name, actions, options, dry_run, submitted_by, idempotency_key,
    request_hash, trace_context, plan, attempt_timeout_seconds, pool, priority, max_attempts,
    retry_of, status, reason, error, attempt_id, started_at, completed_at
)
values (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    case when $17 <> 'pending' then now() end,
    case when $17 <> 'pending' then now() end
)
