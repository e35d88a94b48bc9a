-- The sync's own, and what was worked out against this set or an older one.
delete from snowpack.table_cache_changes
where sync_id = $1
   or generation <= $2
