-- What waits already waits on as it was listed, unless another reason asks for longer: a file of an
-- attempt whose swap did land may be read for as long as the expired snapshots it is found in. What
-- ended before and is found unreferenced again waits anew: its name was used again, or something kept
-- it that is gone by now.
insert into snowpack.pending_deletions (
    catalog, database_name, table_name, table_uuid, path, size_bytes, modified_ms, reason, job_id, delete_after
)
select $1,
       jobs.database_name,
       jobs.table_name,
       $3,
       file.path,
       file.size_bytes,
       file.modified_ms,
       $4,
       $2,
       now() + make_interval(secs => $5::bigint / 1000.0)
from (
    select distinct on (path) path, size_bytes, modified_ms
    from unnest($6::text[], $7::bigint[], $8::bigint[]) as given (path, size_bytes, modified_ms)
    order by path, size_bytes
) as file
left join snowpack.jobs on jobs.job_id = $2
on conflict (table_uuid, path) do update
set catalog = excluded.catalog,
    database_name = excluded.database_name,
    table_name = excluded.table_name,
    size_bytes = excluded.size_bytes,
    modified_ms = excluded.modified_ms,
    reason = excluded.reason,
    job_id = excluded.job_id,
    found_at = excluded.found_at,
    delete_after = excluded.delete_after,
    state = 'pending',
    note = null,
    changed_at = null,
    changed_by = null,
    failed_count = 0
where pending_deletions.state <> 'pending'
    or (
        pending_deletions.reason <> excluded.reason
        and pending_deletions.delete_after < excluded.delete_after
    )
