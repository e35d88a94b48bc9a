-- `create table if not exists` fails when two run at once.
select pg_advisory_xact_lock(hashtextextended('iceberg_tables', 0))
