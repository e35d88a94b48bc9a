insert into snowpack.table_cache_entries as entries
    (database_name, table_name, maintenance_enabled, payload)
select change.database_name,
       change.table_name,
       change.maintenance_enabled,
       change.payload
from snowpack.table_cache_changes as change
where change.sync_id = $1
  and not change.gone
on conflict (database_name, table_name) do update
set maintenance_enabled = excluded.maintenance_enabled,
    payload = excluded.payload
where (entries.maintenance_enabled, entries.payload)
    is distinct from (excluded.maintenance_enabled, excluded.payload)
