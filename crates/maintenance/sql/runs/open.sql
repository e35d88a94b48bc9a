insert into snowpack.orchestrator_runs (dry_run, triggered_by, payload)
values ($1, $2, $3)
returning run_id,
          (extract(epoch from started_at) * 1000)::bigint as started_ms
