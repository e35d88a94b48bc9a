-- Whoever asked for the swap gives up waiting for its answer in time; the server should before that,
-- so that it is known not to have happened. A limit of the transaction's own stands.
with patience as materialized (
    select set_config(
        'lock_timeout',
        coalesce(nullif(current_setting('lock_timeout'), '0'), '10s'),
        true
    ) as limited
)
update iceberg_tables
set metadata_location = $4,
    previous_metadata_location = $5
from patience
where limited is not null
  and catalog_name = $1
  and table_namespace = $2
  and table_name = $3
  and metadata_location = $5
returning 1
