-- The lock makes it a fence: `exists (..)` alone passes while a takeover is uncommitted. Unless a
-- guard has set a limit, the server throws out whoever freezes before the commit, so that a
-- frozen worker holds nobody up.
select set_config(
    'idle_in_transaction_session_timeout',
    coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
    true
)
from {lane}.job_queue
where job_id = $1::text::{id} and attempt_id = $2
for key share
