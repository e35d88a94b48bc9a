delete from snowpack.table_cache_entries as entries
using snowpack.table_cache_changes as change
where change.sync_id = $1
  and change.gone
  and entries.database_name = change.database_name
  and entries.table_name = change.table_name
