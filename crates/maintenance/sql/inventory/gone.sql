select entries.table_name
from snowpack.table_cache_entries as entries
where entries.database_name = $1
  and not exists (
      select
      from unnest($2::text[]) as kept (table_name)
      where kept.table_name = entries.table_name
  )
order by entries.table_name
