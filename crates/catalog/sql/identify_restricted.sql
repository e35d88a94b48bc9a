-- For servers that keep pg_control_system() to themselves.
select null::text as system,
    pg_postmaster_start_time()::text as started,
    current_database()::text as database,
    to_regclass('iceberg_tables')::oid::text as relation
