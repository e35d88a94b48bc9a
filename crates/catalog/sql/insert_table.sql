insert into iceberg_tables
    (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
values ($1, $2, $3, $4, 'TABLE')
