-- What keeps vacuum from clearing dead rows of this database: open transactions, prepared ones, and
-- what standbys and slots still read. Our own transaction sees itself, and vacuum holds up nobody.
-- For how long is known only of transactions, and those of other roles show it to pg_monitor alone.
with holders as (
    select xact_start as since,
           greatest(age(backend_xmin), age(backend_xid)) as transactions
    from pg_stat_activity
    where pid <> pg_backend_pid()
      and backend_type <> 'autovacuum worker'
      and coalesce(query, '') !~* '^\s*vacuum\M'
      and (datname = current_database() or backend_type = 'walsender')
      and (backend_xmin is not null or backend_xid is not null)
    union all
    select prepared,
           age(transaction)
    from pg_prepared_xacts
    where database = current_database()
    union all
    select null,
           age(xmin)
    from pg_replication_slots
    where xmin is not null
)
select coalesce(extract(epoch from clock_timestamp() - min(since)), 0)::float8 as seconds,
       coalesce(max(transactions), 0)::bigint as transactions
from holders
