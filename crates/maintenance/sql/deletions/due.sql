-- A file that some attempt has reserved and not committed is nobody else's to delete.
select pending.path,
       pending.size_bytes,
       pending.reason,
       pending.modified_ms
from snowpack.pending_deletions as pending
where pending.table_uuid = $2
  and pending.state = 'pending'
  and pending.delete_after <= now()
  and ($3::text is null or pending.path > $3)
  and pending.catalog = $1
  and not exists (
      select 1
      from snowpack.attempt_files
      where attempt_files.path = pending.path
        and attempt_files.committed_at is null
  )
order by pending.path
limit $4
