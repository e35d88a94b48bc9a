-- Deletion in two phases: what an expiry is about to do, stored before it does it, and what became
-- of each file that was listed.

-- No foreign key: an intent is settled long after the record of its job may be gone.
create table snowpack.expiry_intents (
    intent bigint generated always as identity primary key,
    job_id text not null,
    attempt_id text not null,
    table_uuid text not null,
    -- The metadata file the expiry was planned on.
    planned_location text not null,
    -- [{snapshot-id, manifest-list, ...}]: the snapshots not settled yet; all of them once closed.
    ids jsonb not null,
    grace_ms bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    constraint expiry_intents_grace_check check (grace_ms >= 0)
);

create index expiry_intents_open on snowpack.expiry_intents (table_uuid, intent)
    where closed_at is null;

alter table snowpack.pending_deletions
    -- Why it was kept, or why the last try failed.
    add column note text,
    -- When it was last decided on.
    add column changed_at timestamptz,
    add column failed_count integer not null default 0,
    -- The job that decided.
    add column changed_by text,
    add constraint pending_deletions_kept_check check (state <> 'kept' or note is not null),
    add constraint pending_deletions_deleted_check
        check (state <> 'deleted' or changed_at is not null);

-- Pages of what is due, by path.
create index pending_deletions_by_path on snowpack.pending_deletions (table_uuid, path)
    include (delete_after)
    where state = 'pending';

-- Which tables had a name when their files were listed.
create index pending_deletions_by_name
    on snowpack.pending_deletions (catalog, database_name, table_name, table_uuid, delete_after)
    where state = 'pending';

-- What one job deleted and kept, over all its attempts.
create index pending_deletions_by_job on snowpack.pending_deletions (changed_by)
    where changed_by is not null;
