update iceberg_tables
set metadata_location = $4,
    previous_metadata_location = $5
where catalog_name = $1
  and table_namespace = $2
  and table_name = $3
  and metadata_location = $5
returning 1
