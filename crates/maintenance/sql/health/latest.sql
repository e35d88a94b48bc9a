select health_snapshot_id,
       payload,
       score,
       needs_maintenance,
       assessed_at,
       checked_at,
       error,
       failure_count
from snowpack.table_health
where database_name = $1
  and table_name = $2
