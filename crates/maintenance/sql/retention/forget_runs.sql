-- Their decisions go with them. An open run is for the next run to close.
with old as (
    select run_id
    from snowpack.orchestrator_runs
    where completed_at < now() - make_interval(days => $1)
    order by run_id
    limit $2
    for update skip locked
)
delete from snowpack.orchestrator_runs
using old
where orchestrator_runs.run_id = old.run_id
