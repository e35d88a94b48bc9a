-- Oldest first. A job that has a queue row is live, whatever its record says.
with old as (
    select jobs.job_id
    from snowpack.jobs
    where jobs.submitted_at < now() - make_interval(days => $1)
      and jobs.completed_at < now() - make_interval(days => $1)
      and not exists (
          select
          from snowpack.job_queue
          where job_queue.job_id = jobs.job_id
      )
    order by jobs.submitted_at, jobs.job_id
    limit $2
    for update skip locked
),
moved_actions as (
    delete from snowpack.job_actions
    using old
    where job_actions.job_id = old.job_id
    returning job_actions.*
),
results as (
    select moved_actions.job_id,
           jsonb_agg(to_jsonb(moved_actions) order by moved_actions.created_at) as actions
    from moved_actions
    group by moved_actions.job_id
),
moved as (
    delete from snowpack.jobs
    using old
    where jobs.job_id = old.job_id
    returning jobs.*
)
insert into snowpack.job_history
    (job_id, database_name, table_name, status, submitted_at, started_at, completed_at,
     submitted_by, deleted_at, record, actions)
select moved.job_id,
       moved.database_name,
       moved.table_name,
       moved.status,
       moved.submitted_at,
       moved.started_at,
       moved.completed_at,
       moved.submitted_by,
       moved.deleted_at,
       to_jsonb(moved),
       coalesce(results.actions, '[]')
from moved
left join results on results.job_id = moved.job_id
