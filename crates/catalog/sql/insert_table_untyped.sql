-- Layout V0 has no iceberg_type.
insert into iceberg_tables (catalog_name, table_namespace, table_name, metadata_location)
values ($1, $2, $3, $4)
