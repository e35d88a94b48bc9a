-- A namespace exists when it has a property or a table.
select table_namespace as namespace
from iceberg_tables
where catalog_name = $1
union
select namespace
from iceberg_namespace_properties
where catalog_name = $1
order by namespace
