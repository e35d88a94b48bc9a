-- How long after $1 the first quarter of a second was over in which jobs ended as fast again as
-- before it: at $2 of that speed.
with before as (
    select $2::float8 * count(*) filter (where completed_at < $1)
               / extract(epoch from $1 - min(started_at))::float8 as per_second
    from snowpack.jobs
)
select extract(epoch from min(moment) + interval '250 milliseconds' - $1)::float8
from before,
     generate_series($1::timestamptz, $1 + interval '2 minutes', interval '50 milliseconds') as moment
where (
    select count(*)
    from snowpack.jobs
    where completed_at >= moment
      and completed_at < moment + interval '250 milliseconds'
) >= before.per_second * 0.25
