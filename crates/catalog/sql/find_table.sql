-- Through jsonb, so that it also runs where the column iceberg_type does not exist (layout V0).
select metadata_location
from iceberg_tables as entry
where catalog_name = $1
  and table_namespace = $2
  and table_name = $3
  and coalesce(to_jsonb(entry) ->> 'iceberg_type', 'TABLE') = 'TABLE'
