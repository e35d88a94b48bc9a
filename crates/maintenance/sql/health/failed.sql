-- What was known stays: an old assessment with an error tells more than an error.
insert into snowpack.table_health (database_name, table_name, checked_at, error, failure_count)
values ($1, $2, clock_timestamp(), $3, 1)
on conflict (database_name, table_name) do update
set checked_at = excluded.checked_at,
    error = excluded.error,
    failure_count = snowpack.table_health.failure_count + 1
