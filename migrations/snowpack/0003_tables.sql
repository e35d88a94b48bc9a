-- Everything beside jobs and queue: the ledger of written files, deletions that wait, settings,
-- and the cached and historical tables of the control plane.

-- Files an attempt is about to write, recorded before they are written. No foreign key: a file
-- outlives the record of the job that wrote it.
create table snowpack.attempt_files (
    path text primary key,
    job_id text not null,
    attempt_id text not null,
    table_uuid text not null,
    kind text not null,
    created_at timestamptz not null default now(),
    committed_at timestamptz,
    constraint attempt_files_kind_check
        check (kind in ('data', 'deletes', 'manifest', 'manifest_list', 'metadata'))
);

create index attempt_files_by_age on snowpack.attempt_files (created_at, path);

-- Files that may be deleted after a pause, once they are found unreferenced again.
create table snowpack.pending_deletions (
    catalog text not null,
    database_name text,
    table_name text,
    table_uuid text not null,
    path text not null,
    size_bytes bigint,
    reason text not null,
    job_id text not null,
    found_at timestamptz not null default now(),
    delete_after timestamptz not null,
    state text not null default 'pending',
    primary key (table_uuid, path),
    constraint pending_deletions_reason_check
        check (reason in ('attempt', 'expired', 'orphan')),
    constraint pending_deletions_state_check check (state in ('pending', 'deleted', 'kept'))
);

create index pending_deletions_due on snowpack.pending_deletions (table_uuid, delete_after)
    where state = 'pending';

-- One row: whether new jobs are refused. Every process sees it with its next statement.
create table snowpack.settings (
    id integer primary key default 1,
    drained_at timestamptz,
    drained_by text,
    reason text,
    constraint settings_one_row check (id = 1),
    constraint settings_drained_check check ((drained_at is null) = (drained_by is null))
);

insert into snowpack.settings (id) values (1);

create table snowpack.table_cache_entries (
    database_name text not null,
    table_name text not null,
    maintenance_enabled boolean,
    payload jsonb,
    primary key (database_name, table_name)
);

create table snowpack.table_cache_meta (
    id integer primary key,
    last_synced_at timestamptz,
    constraint table_cache_meta_one_row check (id = 1)
);

create table snowpack.health_snapshots (
    health_snapshot_id bigint generated always as identity primary key,
    database_name text not null,
    table_name text not null,
    assessed_at timestamptz not null default now(),
    payload jsonb not null
);

create table snowpack.orchestrator_runs (
    run_id bigint generated always as identity primary key,
    started_at timestamptz not null default now(),
    payload jsonb not null
);
