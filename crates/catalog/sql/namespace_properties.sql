select property_key,
       property_value
from iceberg_namespace_properties
where catalog_name = $1
  and namespace = $2
  and property_value is not null
