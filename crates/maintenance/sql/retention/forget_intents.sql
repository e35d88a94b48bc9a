-- An open intent is for the table's next expiry or purge to settle.
with old as (
    select intent
    from snowpack.expiry_intents
    where closed_at < now() - make_interval(days => $1)
    order by closed_at
    limit $2
    for update skip locked
)
delete from snowpack.expiry_intents
using old
where expiry_intents.intent = old.intent
