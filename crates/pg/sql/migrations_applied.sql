select checksum
from {lane}.schema_migrations
where number = $1
