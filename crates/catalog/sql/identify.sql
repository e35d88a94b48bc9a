-- Which table `iceberg_tables` is here. A restored copy of a server shares its system
-- identifier, so the moment this server started counts too.
select (select system_identifier from pg_control_system())::text as system,
    pg_postmaster_start_time()::text as started,
    current_database()::text as database,
    to_regclass('iceberg_tables')::oid::text as relation
