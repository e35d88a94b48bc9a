insert into snowpack.table_cache_changes
    (sync_id, generation, database_name, table_name, gone, maintenance_enabled, payload)
select $1,
       $2,
       change.database_name,
       change.table_name,
       change.payload is null,
       change.maintenance_enabled,
       change.payload
from unnest($3::text[], $4::text[], $5::boolean[], $6::jsonb[])
    as change (database_name, table_name, maintenance_enabled, payload)
on conflict do nothing
