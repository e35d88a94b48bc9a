select checksum
from {schema}.schema_migrations
where number = $1
