-- Each part is one look into an index for each table, whatever else the tables hold.
with asked as materialized (
    select *
    from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality
        as asked (database_name, table_name, table_key, table_uuid, place)
)
select job.last_job_id,
       (extract(epoch from job.ended_at) * 1000)::bigint as ended_ms,
       (extract(epoch from job.completed_at) * 1000)::bigint as completed_ms,
       (extract(epoch from job.failed_at) * 1000)::bigint as failed_ms,
       job.failures,
       lock.holder,
       due.files,
       (extract(epoch from put_off.decided_at) * 1000)::bigint as put_off_ms
from asked
left join lateral (
    with newest as materialized (
        select jobs.job_id,
               jobs.submitted_at,
               jobs.completed_at as ended_at,
               jobs.status,
               -- A job that only deletes files leaves the table as it was.
               jobs.actions <> '{purge_pending}' as thorough
        from snowpack.jobs
        where jobs.database_name = asked.database_name
          and jobs.table_name = asked.table_name
          and jobs.deleted_at is null
          and not jobs.dry_run
        order by jobs.submitted_at desc, jobs.job_id desc
        limit $7
    ),
    -- What is older than the last good end says nothing, and most tables' is among the newest.
    older as (
        select jobs.job_id,
               jobs.submitted_at,
               jobs.completed_at as ended_at,
               jobs.status,
               jobs.actions <> '{purge_pending}' as thorough
        from snowpack.jobs
        where jobs.database_name = asked.database_name
          and jobs.table_name = asked.table_name
          and jobs.deleted_at is null
          and not jobs.dry_run
          and not exists (select from newest where newest.thorough and newest.status = 'completed')
        order by jobs.submitted_at desc, jobs.job_id desc
        limit $5 - $7
        offset $7
    ),
    kept as materialized (
        select *
        from newest
        union all
        select *
        from older
    ),
    -- A cadence or a pause may be longer than jobs are kept.
    archived as (
        select job_history.job_id,
               job_history.submitted_at,
               job_history.completed_at as ended_at,
               job_history.status,
               not job_history.only_purged as thorough
        from snowpack.job_history
        where job_history.database_name = asked.database_name
          and job_history.table_name = asked.table_name
          and job_history.deleted_at is null
          and not job_history.dry_run
          and not exists (select from kept where kept.thorough and kept.status = 'completed')
        order by job_history.submitted_at desc, job_history.job_id desc
        limit $5 - (select count(*) from kept)
    )
    select (array_agg(recent.job_id order by recent.place))[1] as last_job_id,
           -- Any job was its turn, also one that only purged: else it would be first for ever.
           max(recent.submitted_at) as submitted_at,
           max(recent.ended_at) filter (where recent.thorough) as ended_at,
           max(recent.ended_at) filter (where recent.thorough and recent.status = 'completed')
               as completed_at,
           max(recent.ended_at) filter (where recent.status = 'failed') as failed_at,
           -- Since the last that completed.
           count(*) filter (where recent.status = 'failed' and recent.completed_since = 0)
               as failures
    from (
        select latest.*,
               row_number() over newest_first as place,
               count(*) filter (where latest.thorough and latest.status = 'completed')
                   over newest_first as completed_since
        from (
            select *
            from kept
            union all
            select *
            from archived
        ) as latest
        window newest_first as (order by latest.submitted_at desc, latest.job_id desc)
    ) as recent
) as job on true
left join lateral (
    select table_locks.holder
    from snowpack.table_locks
    where table_locks.table_key = asked.table_key
      and exists (
          select
          from snowpack.job_queue
          where job_queue.job_id = table_locks.holder
      )
    limit 1
) as lock on true
left join lateral (
    select count(*) as files
    from (
        select pending.path
        from snowpack.pending_deletions as pending
        where pending.table_uuid = asked.table_uuid
          and pending.state = 'pending'
          and pending.delete_after <= now()
        limit $6
    ) as ripe
    where not exists (
        select
        from snowpack.attempt_files
        where attempt_files.path = ripe.path
          and attempt_files.committed_at is null
    )
) as due on true
left join lateral (
    select decision.decided_at
    from snowpack.orchestrator_decisions as decision
    where decision.database_name = asked.database_name
      and decision.table_name = asked.table_name
      and decision.reason = 'over_budget'
      and decision.decided_at > coalesce(job.submitted_at, '-infinity')
    order by decision.decided_at
    limit 1
) as put_off on true
order by asked.place
