-- The control plane: inventory, health, orchestrator runs, and what outlives operational retention.

-- The inventory. An entry's payload holds what the last sync read of the table:
-- {metadata_location, table_uuid, location, format_version, last_updated_ms,
--  properties, database_properties, rule, error}; properties are those that steer maintenance.
-- An entry is written when it changes only; when it was last seen, table_cache says.
create index table_cache_entries_by_enabled
    on snowpack.table_cache_entries (maintenance_enabled, database_name, table_name);

alter table snowpack.table_cache_meta
    -- Counts the sets swapped in: a change worked out against another one is stale.
    add column generation bigint not null default 0,
    -- The last try, whatever became of it; last_synced_at is the last one that was swapped in.
    add column attempted_at timestamptz,
    add column outcome text,
    add column error text,
    -- [{namespace, error, since}]: their old entries were kept, and were last seen at `since`.
    add column failed_namespaces jsonb not null default '[]',
    add column table_count bigint not null default 0,
    -- Entries with an error: their metadata could not be read.
    add column unreadable_count bigint not null default 0,
    add column elapsed_seconds real,
    add constraint table_cache_meta_outcome_check
        check (outcome in ('synced', 'partial', 'held_back', 'failed'));

-- The entries, each with when it was last seen in a listing of its namespace that did not fail:
-- at the last sync but for namespaces that failed then. Kept beside every entry, that time would
-- rewrite them all at every sync. (A row put in by hand before the first sync counts as new.)
create view snowpack.table_cache as
select entries.database_name,
       entries.table_name,
       entries.maintenance_enabled,
       entries.payload,
       coalesce(failed.since, meta.last_synced_at, now()) as synced_at
from snowpack.table_cache_entries as entries
left join snowpack.table_cache_meta as meta on meta.id = 1
left join lateral jsonb_to_recordset(meta.failed_namespaces)
    as failed (namespace text, since timestamptz)
    on failed.namespace = entries.database_name;

-- What a sync under way found different from the set of `generation`, until it is swapped in. Not
-- logged: after a crash of Postgres the sync that misses its rows gives up, and the next one works
-- them out again.
create unlogged table snowpack.table_cache_changes (
    sync_id uuid not null,
    database_name text not null,
    table_name text not null,
    generation bigint not null,
    gone boolean not null,
    maintenance_enabled boolean,
    payload jsonb,
    found_at timestamptz not null default clock_timestamp(),
    primary key (sync_id, database_name, table_name),
    constraint table_cache_changes_gone_check check (gone = (payload is null))
);

insert into snowpack.table_cache_meta (id) values (1) on conflict (id) do nothing;

-- What a retry needs of the job it repeats: the queue row that held it is gone by then. Null in rows
-- of an older version: the defaults.
alter table snowpack.jobs
    add column pool text,
    add column priority smallint,
    add column max_attempts integer,
    -- The job this one repeats. No foreign key: that one may be archived by now.
    add column retry_of text;

-- Health over time: one row for each assessment that found something new.
alter table snowpack.health_snapshots
    add column table_uuid text,
    add column metadata_location text,
    add column score real,
    add column needs_maintenance boolean,
    add column recommended_actions text[] not null default '{}',
    add column total_data_files bigint,
    add column total_delete_files bigint,
    add column total_size_bytes bigint,
    add column small_file_count bigint,
    add column small_file_pct real,
    add column snapshot_count bigint,
    add column manifest_count bigint,
    add column total_records bigint,
    add constraint health_snapshots_score_check check (score between 0 and 100);

create index health_snapshots_by_table
    on snowpack.health_snapshots (database_name, table_name, assessed_at desc, health_snapshot_id desc);

-- For retention.
create index health_snapshots_by_age on snowpack.health_snapshots (assessed_at, health_snapshot_id);

-- One row a table: its newest assessment, and how the last try went.
create table snowpack.table_health (
    database_name text not null,
    table_name text not null,
    health_snapshot_id bigint,
    table_uuid text,
    metadata_location text,
    score real,
    needs_maintenance boolean,
    -- As in health_snapshots; null while no assessment has worked.
    payload jsonb,
    -- When the facts were last found to be different.
    assessed_at timestamptz,
    -- When somebody last looked, successfully or not: the stalest goes first.
    checked_at timestamptz not null default now(),
    -- Why the last look failed, and how many failed in a row.
    error text,
    failure_count integer not null default 0,
    primary key (database_name, table_name),
    constraint table_health_score_check check (score between 0 and 100),
    constraint table_health_content_check check (payload is not null or error is not null),
    constraint table_health_failure_check check ((error is not null) = (failure_count > 0))
);

create index table_health_by_score
    on snowpack.table_health (score, database_name, table_name)
    where score is not null;

-- Orchestrator runs: opened at the start, closed in every outcome, by the next run if need be.
alter table snowpack.orchestrator_runs
    alter column payload set default '{}',
    add column status text not null default 'running',
    add column completed_at timestamptz,
    -- Moved on while the run lives; one that stands still is abandoned.
    add column seen_at timestamptz not null default now(),
    add column dry_run boolean not null default false,
    add column triggered_by text not null default 'unknown',
    add column tables_assessed integer not null default 0,
    add column tables_skipped integer not null default 0,
    add column tables_healthy integer not null default 0,
    add column jobs_submitted integer not null default 0,
    add column jobs_completed integer not null default 0,
    add column jobs_failed integer not null default 0,
    add column error text,
    -- What cut it short though nothing failed.
    add column note text,
    -- When the last of its jobs had ended: from then on its counters stand.
    add column settled_at timestamptz,
    add constraint orchestrator_runs_status_check
        check (status in ('running', 'completed', 'failed', 'abandoned')),
    add constraint orchestrator_runs_completed_check
        check ((status = 'running') = (completed_at is null)),
    add constraint orchestrator_runs_error_check
        check (status <> 'failed' or error is not null);

create index orchestrator_runs_open on snowpack.orchestrator_runs (seen_at) where completed_at is null;
create index orchestrator_runs_unsettled on snowpack.orchestrator_runs (run_id) where settled_at is null;

-- What a run decided about each table, and why.
create table snowpack.orchestrator_decisions (
    run_id bigint not null references snowpack.orchestrator_runs (run_id) on delete cascade,
    database_name text not null,
    table_name text not null,
    decision text not null,
    -- One word, as policy's reasons are named.
    reason text not null,
    -- For people.
    why text not null,
    actions text[] not null default '{}',
    job_id text,
    score real,
    decided_at timestamptz not null default clock_timestamp(),
    primary key (run_id, database_name, table_name),
    constraint orchestrator_decisions_decision_check check (decision in ('submit', 'skip')),
    constraint orchestrator_decisions_job_check check (job_id is null or decision = 'submit')
);

create index orchestrator_decisions_by_table
    on snowpack.orchestrator_decisions (database_name, table_name, run_id desc);

-- Since when a table is put off.
create index orchestrator_decisions_put_off
    on snowpack.orchestrator_decisions (database_name, table_name, decided_at)
    where reason = 'over_budget';

-- What a run submitted, in the order it did.
create index orchestrator_decisions_submitted
    on snowpack.orchestrator_decisions (run_id, decided_at, database_name, table_name)
    where decision = 'submit';

-- Jobs that outlived operational retention: the whole record and its actions, as documents.
create table snowpack.job_history (
    job_id text primary key,
    database_name text not null,
    table_name text not null,
    status text not null,
    submitted_at timestamptz not null,
    started_at timestamptz,
    completed_at timestamptz not null,
    submitted_by text not null,
    deleted_at timestamptz,
    -- The row of jobs, every column.
    record jsonb not null,
    -- Its rows of job_actions, oldest first.
    actions jsonb not null,
    archived_at timestamptz not null default now(),
    -- What the policy asks of the past, without unpacking the record.
    dry_run boolean not null
        generated always as (coalesce(record -> 'dry_run' = 'true', false)) stored,
    only_purged boolean not null
        generated always as (coalesce(record -> 'actions' = '["purge_pending"]', false)) stored,
    constraint job_history_status_check check (status in ('completed', 'failed', 'cancelled'))
);

create index job_history_by_time on snowpack.job_history (submitted_at desc, job_id desc)
    where deleted_at is null;
create index job_history_by_status on snowpack.job_history (status, submitted_at desc, job_id desc)
    where deleted_at is null;
create index job_history_by_table
    on snowpack.job_history (database_name, table_name, submitted_at desc, job_id desc)
    where deleted_at is null;

-- For retention.
create index job_history_by_age on snowpack.job_history (completed_at, job_id);

-- Listings of one database, and of jobs that did not complete. The second's predicate is on
-- `reason`, which claim and a good end leave alone: an index that mentions `status` would keep
-- both updates of every job from staying on their page.
create index jobs_by_database on snowpack.jobs (database_name, submitted_at desc, job_id desc)
    where deleted_at is null;
create index jobs_not_completed on snowpack.jobs (submitted_at desc, job_id desc)
    where reason is not null and deleted_at is null;

-- For retention: oldest first, hidden ones too.
create index jobs_by_age on snowpack.jobs (submitted_at, job_id);

-- What repeats by itself (cache sync, health sync, sweeps, retention): who did it last, when, and
-- what came of it.
create table snowpack.loops (
    name text primary key,
    holder text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    outcome text,
    detail text,
    constraint loops_outcome_check check (outcome in ('done', 'partial', 'failed')),
    constraint loops_ended_check check ((ended_at is null) = (outcome is null))
);
