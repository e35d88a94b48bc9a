select health_snapshot_id,
       assessed_at,
       payload,
       score,
       needs_maintenance
from snowpack.health_snapshots
where database_name = $1
  and table_name = $2
  and ($3::timestamptz is null or (assessed_at, health_snapshot_id) < ($3, $4))
order by assessed_at desc, health_snapshot_id desc
limit $5
