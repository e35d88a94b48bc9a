-- The limit is for who freezes before the commit, as in hold.sql: the holder's finish waits.
select
    table_key,
    holder::text,
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    )
from {lane}.table_locks
where table_key = any ($1)
order by table_key
for update
