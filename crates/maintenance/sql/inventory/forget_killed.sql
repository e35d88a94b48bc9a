-- What syncs that were killed left behind. One that is so slow misses its rows and gives up.
delete from snowpack.table_cache_changes
where found_at < clock_timestamp() - make_interval(secs => $1)
