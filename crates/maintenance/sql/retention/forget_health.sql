-- The newest one of a table stays, however old it is.
with old as (
    select snapshot.health_snapshot_id
    from snowpack.health_snapshots as snapshot
    where snapshot.assessed_at < now() - make_interval(days => $1)
      and exists (
          select
          from snowpack.health_snapshots as newer
          where newer.database_name = snapshot.database_name
            and newer.table_name = snapshot.table_name
            and (newer.assessed_at, newer.health_snapshot_id)
                > (snapshot.assessed_at, snapshot.health_snapshot_id)
      )
    order by snapshot.assessed_at, snapshot.health_snapshot_id
    limit $2
    for update skip locked
)
delete from snowpack.health_snapshots
using old
where health_snapshots.health_snapshot_id = old.health_snapshot_id
