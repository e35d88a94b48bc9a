-- What this job has listed as orphans of the table, over all its attempts.
select count(*) as files, coalesce(sum(size_bytes), 0)::bigint as bytes
from snowpack.pending_deletions
where table_uuid = $1 and state = 'pending' and reason = 'orphan' and job_id = $2
