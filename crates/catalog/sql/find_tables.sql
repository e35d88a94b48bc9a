select to_regclass('iceberg_tables') is not null
    and to_regclass('iceberg_namespace_properties') is not null as complete
