select exists (
    select from iceberg_tables
    where catalog_name = $1
      and (table_namespace = $2 or starts_with(table_namespace, $2 || '.'))
) or exists (
    select from iceberg_namespace_properties
    where catalog_name = $1
      and (namespace = $2 or starts_with(namespace, $2 || '.'))
) as found
