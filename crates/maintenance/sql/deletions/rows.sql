select catalog,
       database_name,
       table_name,
       table_uuid,
       path,
       size_bytes,
       reason,
       job_id,
       found_at,
       delete_after,
       delete_after <= now() as due,
       state,
       note,
       changed_at,
       changed_by,
       failed_count
from snowpack.pending_deletions
where state = $1
  and ($2::text is null or database_name = $2)
  and ($3::text is null or table_name = $3)
  and ($4::text is null or (table_uuid, path) > ($4, $5))
order by table_uuid, path
limit $6
