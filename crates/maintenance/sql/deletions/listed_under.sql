-- Steps from one table to the next in the index, however many files each has.
with recursive listed (table_uuid) as (
    (
        select table_uuid
        from snowpack.pending_deletions
        where catalog = $1
          and database_name = $2
          and table_name = $3
          and state = 'pending'
        order by table_uuid
        limit 1
    )
    union all
    select (
        select further.table_uuid
        from snowpack.pending_deletions as further
        where further.catalog = $1
          and further.database_name = $2
          and further.table_name = $3
          and further.state = 'pending'
          and further.table_uuid > listed.table_uuid
        order by further.table_uuid
        limit 1
    )
    from listed
    where listed.table_uuid is not null
)
select listed.table_uuid
from listed
where exists (
    select 1
    from snowpack.pending_deletions as due
    where due.catalog = $1
      and due.database_name = $2
      and due.table_name = $3
      and due.table_uuid = listed.table_uuid
      and due.state = 'pending'
      and due.delete_after <= now()
)
limit $4
