update snowpack.orchestrator_runs
set seen_at = clock_timestamp()
where run_id = $1
  and status = 'running'
