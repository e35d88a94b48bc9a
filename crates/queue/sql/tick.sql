-- The limit is for the claim behind it, as in claim.sql.
with patience as materialized (
    select set_config(
        'lock_timeout',
        coalesce(nullif(current_setting('lock_timeout'), '0'), '5s'),
        true
    ) as limited
)
select exhausted, deadline, cancelled, reset, flipped
from patience
cross join lateral {lane}.tick_v1(case when limited is not null then $1::int end)
