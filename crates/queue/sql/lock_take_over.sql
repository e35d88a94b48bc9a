-- A holder without a queue row has ended. One whose lock was taken in this very transaction has
-- merely not got its row yet (now() is the transaction's).
update {lane}.table_locks as held
set holder = wanted.new_holder::{id},
    acquired_at = now(),
    expires_at = now() + interval '1 hour'
from unnest($1::text[], $2::text[], $3::text[]) as wanted (table_key, old_holder, new_holder)
where held.table_key = wanted.table_key
    and held.holder = wanted.old_holder::{id}
    and held.acquired_at <> now()
    and not exists (
        select 1
        from {lane}.job_queue
        where job_queue.job_id = held.holder
    )
returning held.table_key
