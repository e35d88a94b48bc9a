insert into snowpack.jobs (
    job_id, database_name, table_name, actions, options, dry_run, status, submitted_by,
    idempotency_key, request_hash, trace_context, plan, attempt_timeout_seconds
)
values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, $9, $10, $11, $12)
