-- Nothing new: only the look is noted. Else a row of history and the newest assessment, both or
-- neither.
with unchanged as (
    update snowpack.table_health
    set checked_at = clock_timestamp(),
        error = null,
        failure_count = 0
    where database_name = $1
      and table_name = $2
      and payload = $3
      and not $4
    returning health_snapshot_id
), kept as (
    insert into snowpack.health_snapshots (
        database_name,
        table_name,
        assessed_at,
        payload,
        table_uuid,
        metadata_location,
        score,
        needs_maintenance,
        recommended_actions,
        total_data_files,
        total_delete_files,
        total_size_bytes,
        small_file_count,
        small_file_pct,
        snapshot_count,
        manifest_count,
        total_records
    )
    select $1, $2, clock_timestamp(), $3, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
    where not exists (select from unchanged)
    returning health_snapshot_id, assessed_at
), newest as (
    insert into snowpack.table_health (
        database_name,
        table_name,
        health_snapshot_id,
        table_uuid,
        metadata_location,
        score,
        needs_maintenance,
        payload,
        assessed_at,
        checked_at
    )
    select $1, $2, kept.health_snapshot_id, $5, $6, $7, $8, $3, kept.assessed_at, kept.assessed_at
    from kept
    on conflict (database_name, table_name) do update
    set health_snapshot_id = excluded.health_snapshot_id,
        table_uuid = excluded.table_uuid,
        metadata_location = excluded.metadata_location,
        score = excluded.score,
        needs_maintenance = excluded.needs_maintenance,
        payload = excluded.payload,
        assessed_at = excluded.assessed_at,
        checked_at = excluded.checked_at,
        error = null,
        failure_count = 0
)
select (select health_snapshot_id from kept) as new
