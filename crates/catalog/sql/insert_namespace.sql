insert into iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
select $1::text, $2::text, property.key, property.value
from unnest($3::text[], $4::text[]) as property (key, value)
where not exists (
    select from iceberg_namespace_properties
    where catalog_name = $1::text
      and namespace = $2::text
)
on conflict do nothing
