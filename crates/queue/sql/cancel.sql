-- The limit is for who freezes before the commit, as in hold.sql.
select
    {lane}.cancel_v1($1::text::{id}),
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    )
