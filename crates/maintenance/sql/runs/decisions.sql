select *
from snowpack.decisions
where run_id = $1
  and ($2::text is null or decision = $2)
  and ($3::text is null or reason = $3)
  and ($4::text is null or (database_name, table_name) > ($4, $5))
order by database_name, table_name
limit $6
