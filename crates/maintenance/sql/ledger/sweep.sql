-- An attempt that is not in the queue any more never comes back: ids are not used twice. A mark
-- that is being written holds its row, which is then passed over.
with over as (
    select path
    from snowpack.attempt_files
    where not exists (
        select 1
        from snowpack.job_queue
        where job_queue.job_id = attempt_files.job_id
          and job_queue.attempt_id = attempt_files.attempt_id
    )
    order by created_at, path
    limit $2
    for update skip locked
),
taken as (
    delete from snowpack.attempt_files
    using over
    where attempt_files.path = over.path
    returning attempt_files.path,
              attempt_files.job_id,
              attempt_files.table_uuid,
              attempt_files.committed_at
),
moved as (
    insert into snowpack.pending_deletions (
        catalog, database_name, table_name, table_uuid, path, reason, job_id, delete_after
    )
    select $1,
           jobs.database_name,
           jobs.table_name,
           taken.table_uuid,
           taken.path,
           'attempt',
           taken.job_id,
           now() + interval '24 hours'
    from taken
    left join snowpack.jobs on jobs.job_id = taken.job_id
    where taken.committed_at is null
    on conflict (table_uuid, path) do nothing
)
select (select count(*) from taken where committed_at is null) as moved,
       (select count(*) from taken where committed_at is not null) as forgotten
