select catalog,
       database_name,
       table_name,
       table_uuid,
       state,
       count(*) as files,
       coalesce(sum(size_bytes), 0)::bigint as bytes,
       count(*) filter (where size_bytes is null) as files_of_unknown_size,
       count(*) filter (where delete_after <= now() and state = 'pending') as due,
       count(*) filter (where failed_count > 0 and state = 'pending') as failing,
       min(delete_after) filter (where state = 'pending') as due_first_at
from snowpack.pending_deletions
where state = $1
  and ($2::text is null or database_name = $2)
  and ($3::text is null or table_name = $3)
group by catalog, database_name, table_name, table_uuid, state
order by database_name, table_name, catalog, table_uuid
limit $4
