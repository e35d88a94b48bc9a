-- The limit is for who freezes before the commit, as in hold.sql.
select
    status,
    reason,
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    )
from {lane}.hand_back_v1($1::text::{id}, $2, make_interval(secs => $3), $4, $5, $6)
