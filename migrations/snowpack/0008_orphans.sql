-- Of orphans: when the file was last written, by its store's clock in milliseconds since the epoch. One
-- that was written again while it waits is another file.
alter table snowpack.pending_deletions add column modified_ms bigint;

-- What a job has listed as orphans, counted without reading what else waits.

create index pending_deletions_orphans on snowpack.pending_deletions (job_id)
    include (table_uuid, size_bytes)
    where state = 'pending' and reason = 'orphan';
