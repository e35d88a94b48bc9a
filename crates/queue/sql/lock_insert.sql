-- No decision reads expires_at; the claim and the heartbeat keep it from being earlier than the
-- lease. The limit is for who freezes before the commit, as in hold.sql: others wait for this key.
insert into {lane}.table_locks (table_key, holder, expires_at)
select wanted.table_key, wanted.holder::{id}, now() + interval '1 hour'
from unnest($1::text[], $2::text[]) as wanted (table_key, holder)
order by wanted.table_key
on conflict (table_key) do nothing
returning
    table_key,
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '10s'),
        true
    )
