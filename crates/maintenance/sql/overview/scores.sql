-- Ten steps of ten points; a score on the edge belongs to the lower one, as `le` means it.
select greatest(ceil(score / 10), 1)::int as step,
       count(*) as tables,
       sum(score)::float8 as score_sum
from snowpack.table_health
where score is not null
group by step
order by step
