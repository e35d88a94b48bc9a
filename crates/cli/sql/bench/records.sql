-- Records of jobs; their locks and queue rows are the queue's own statements.
insert into snowpack.jobs (
    job_id, database_name, table_name, actions, dry_run, status, submitted_by, request_hash, pool,
    priority, max_attempts
)
select
    item.job_id, 'bench', item.table_name, array['purge_pending'], false, 'pending', 'bench', 'v1:',
    'default', 0, 5
from unnest($1::text[], $2::text[]) as item (job_id, table_name)
