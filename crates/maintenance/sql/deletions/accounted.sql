-- Which of these files somebody answers for: an attempt that has not committed them, or the list of what
-- waits for its deletion.
select asked.path
from unnest($2::text[]) as asked (path)
where exists (
        select from snowpack.attempt_files as file
        where file.path = asked.path and file.committed_at is null
    )
    or exists (
        select from snowpack.pending_deletions as waiting
        where waiting.table_uuid = $1 and waiting.path = asked.path and waiting.state = 'pending'
    )
