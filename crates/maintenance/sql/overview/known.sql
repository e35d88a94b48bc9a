select exists (
    select
    from snowpack.table_cache_entries
    where database_name = $1
      and table_name = $2
) as known
