-- Files that were deleted or kept; what waits stays, however old it is.
with old as (
    select table_uuid, path
    from snowpack.pending_deletions
    where state <> 'pending'
      and changed_at < now() - make_interval(days => $1)
    order by changed_at
    limit $2
    for update skip locked
)
delete from snowpack.pending_deletions
using old
where pending_deletions.table_uuid = old.table_uuid
  and pending_deletions.path = old.path
