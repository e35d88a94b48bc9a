select exists (
    select from pg_attribute
    where attrelid = to_regclass('iceberg_tables')
      and attname = 'iceberg_type'
      and not attisdropped
) as typed
