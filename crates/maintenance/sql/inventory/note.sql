update snowpack.table_cache_meta
set attempted_at = $1,
    outcome = $2,
    error = $3,
    elapsed_seconds = extract(epoch from clock_timestamp() - $1)::real
where id = 1
