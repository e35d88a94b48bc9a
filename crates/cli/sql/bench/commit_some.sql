-- One table in a hundred and one, in all databases, moves on to the next metadata file.
update iceberg_tables
set metadata_location = ($2::text[])[
    1 + array_position($2::text[], metadata_location::text) % cardinality($2::text[])
]
where catalog_name = $1
  and right(table_name, 8)::bigint % 101 = 0
