-- A run made elsewhere, told when it is over. It began so many seconds ago, by our clock; while
-- decisions name jobs its counters are looked up from them, else they stand as they were told.
insert into snowpack.orchestrator_runs (
    status, started_at, completed_at, dry_run, triggered_by, tables_assessed, tables_skipped,
    tables_healthy, jobs_submitted, jobs_completed, jobs_failed, error, note, payload, settled_at
)
values (
    case when $9::text is null then 'completed' else 'failed' end,
    now() - make_interval(secs => $12),
    now(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    case when not $13::boolean then now() end
)
returning run_id
