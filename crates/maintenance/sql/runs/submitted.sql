-- In the order they were decided: the most wanted first.
select *
from snowpack.decisions
where run_id = $1
  and decision = 'submit'
order by decided_at, database_name, table_name
limit $2
