-- Through jsonb, so that it also runs where the column iceberg_type does not exist (layout V0).
select table_name,
       metadata_location
from iceberg_tables as entry
where catalog_name = $1
  and table_namespace = $2
  and coalesce(to_jsonb(entry) ->> 'iceberg_type', 'TABLE') = 'TABLE'
order by table_name
