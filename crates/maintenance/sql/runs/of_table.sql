select *
from snowpack.decisions
where database_name = $1
  and table_name = $2
  and ($3::bigint is null or run_id < $3)
order by run_id desc
limit $4
