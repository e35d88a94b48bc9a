-- Jobs $2 to $3 of $1, oldest first, over ninety days and $5 tables in $6 databases; those below
-- $4 are archived. In a hundred, four failed and two were cancelled.
with drawn as (
    select number,
           number < $4::bigint as archived,
           -- Neighbours in time are of different tables.
           number * 7919 % $5::bigint as table_number,
           now() - make_interval(secs => ($1::bigint - number) * 7776000.0 / $1::bigint)
               as submitted_at,
           case
               when drawn_by % 100 < 4 then 'failed'
               when drawn_by % 100 < 6 then 'cancelled'
               else 'completed'
           end as status
    from generate_series($2::bigint, $3::bigint - 1) as number
    cross join lateral abs(hashint8(number)::bigint) as drawn_by
),
made as (
    select drawn.archived,
           -- As a UUID of version 7: the time first.
           (
               lpad(to_hex((extract(epoch from drawn.submitted_at) * 1000)::bigint), 12, '0')
               || '7' || substr(md5(drawn.number::text), 1, 19)
           )::uuid::text as job_id,
           'fleet_' || lpad((drawn.table_number % $6::bigint)::text, 4, '0') as database_name,
           'table_' || lpad(drawn.table_number::text, 8, '0') as table_name,
           array['expire_snapshots', 'rewrite_data_files', 'purge_pending'] as actions,
           false as dry_run,
           drawn.status,
           case drawn.status when 'failed' then 'action_failed' when 'cancelled' then 'cancelled' end
               as reason,
           case drawn.status
               when 'failed' then 'rewrite_data_files: read a data file: the store answered 503'
           end as error,
           drawn.submitted_at,
           drawn.submitted_at + interval '2 seconds' as started_at,
           drawn.submitted_at + interval '40 seconds' as completed_at,
           'orchestrator' as submitted_by,
           'v1:' || md5(drawn.number::text) as request_hash,
           '{"rewrite_data_files": {"target-file-size-bytes": "536870912"}}'::jsonb as options,
           gen_random_uuid()::text as attempt_id,
           'default' as pool,
           0::smallint as priority,
           5 as max_attempts
    from drawn
),
kept as (
    insert into snowpack.jobs (
        job_id, database_name, table_name, actions, dry_run, status, reason, error, submitted_at,
        started_at, completed_at, submitted_by, request_hash, options, attempt_id, pool, priority,
        max_attempts
    )
    select job_id, database_name, table_name, actions, dry_run, status, reason, error, submitted_at,
           started_at, completed_at, submitted_by, request_hash, options, attempt_id, pool, priority,
           max_attempts
    from made
    where not archived
),
acted as (
    insert into snowpack.job_actions (
        job_id, action, success, error, elapsed_seconds, created_at, attempt_id, outcome, result
    )
    select job_id, 'rewrite_data_files', status = 'completed', error, 38, completed_at, attempt_id,
           case status when 'completed' then 'done' when 'failed' then 'failed' else 'skipped' end,
           '{"files_in": 40, "files_out": 2, "bytes_in": 73400320, "bytes_out": 70254592}'::jsonb
    from made
    where not archived
)
insert into snowpack.job_history (
    job_id, database_name, table_name, status, submitted_at, started_at, completed_at, submitted_by,
    record, actions
)
select job_id, database_name, table_name, status, submitted_at, started_at, completed_at,
       submitted_by, to_jsonb(made) - 'archived',
       jsonb_build_array(
           jsonb_build_object(
               'job_id', job_id, 'action', 'rewrite_data_files', 'success', status = 'completed',
               'error', error, 'elapsed_seconds', 38, 'created_at', completed_at,
               'attempt_id', attempt_id, 'outcome',
               case status
                   when 'completed' then 'done' when 'failed' then 'failed' else 'skipped'
               end,
               'result',
               '{"files_in": 40, "files_out": 2, "bytes_in": 73400320, "bytes_out": 70254592}'::jsonb
           )
       )
from made
where archived
