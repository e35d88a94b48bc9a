-- $2 tables in $3 databases of catalog $1, their metadata files shared by all.
insert into iceberg_tables (
    catalog_name, table_namespace, table_name, metadata_location, iceberg_type
)
select $1::text,
       'fleet_' || lpad((number % $3::bigint)::text, 4, '0'),
       'table_' || lpad(number::text, 8, '0'),
       ($4::text[])[1 + number % cardinality($4::text[])],
       'TABLE'
from generate_series(0, $2::bigint - 1) as number
