select count(*) filter (where state = 'deleted') as deleted,
       coalesce(sum(size_bytes) filter (where state = 'deleted'), 0)::bigint as bytes,
       count(*) filter (where state = 'kept') as kept,
       count(*) filter (where state = 'pending') as failed
from snowpack.pending_deletions
where changed_by = $1
