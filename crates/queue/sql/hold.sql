-- The lock makes it a fence: `exists (..)` alone passes while a takeover is uncommitted. Unless a
-- guard has set limits, the server throws out whoever freezes before the commit, so that a
-- frozen worker holds nobody up, and a write behind it that waits for a lock gives up: until then
-- not even the attempt's own end would get past the row held here.
select
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    ),
    set_config('lock_timeout', coalesce(nullif(current_setting('lock_timeout'), '0'), '10s'), true)
from {lane}.job_queue
where job_id = $1::text::{id} and attempt_id = $2
for key share
