-- The same intent of the same attempt, sent again after a lost answer, is one intent.
with known as (
    select intent
    from snowpack.expiry_intents
    where table_uuid = $3
      and closed_at is null
      and attempt_id = $2
      and planned_location = $4
      and ids = $5
    order by intent
    limit 1
),
made as (
    insert into snowpack.expiry_intents (
        job_id, attempt_id, table_uuid, planned_location, ids, grace_ms
    )
    select $1, $2, $3, $4, $5, $6
    where not exists (select 1 from known)
    returning intent
)
select intent from known
union all
select intent from made
