-- The limit is for who freezes before the commit, as in hold.sql.
select
    attempt_id,
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    )
from {lane}.finish_v1($1::text[]::{id}[], $2, $3, $4, $5)
