-- Of every catalog in this database: tables of another one may share a folder too.
select catalog_name, table_namespace, table_name, metadata_location
from iceberg_tables as entry
where metadata_location is not null
  and coalesce(to_jsonb(entry) ->> 'iceberg_type', 'TABLE') = 'TABLE'
order by table_namespace, table_name, catalog_name
