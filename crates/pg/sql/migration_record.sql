insert into {lane}.schema_migrations (number, name, checksum, oldest_binary_schema)
values ($1, $2, $3, $4)
