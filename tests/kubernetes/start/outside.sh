# What Snowpack needs beside a cluster, on the host's address: Postgres, and an S3 server with the bucket `lake-test`.
server=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$server/initdb" ] || die "no Postgres server programs found; Debian: apt-get install postgresql"
[ -x "${SNOWPACK_TEST_S3:-}" ] || die "SNOWPACK_TEST_S3 names the S3 server versitygw; tests/run sets it"
# Postgres refuses to run as root.
user=postgres
id "$user" >/dev/null 2>&1 || user=nobody
as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
chmod 711 "$state"
mkdir "$state/postgres"
chown "$user" "$state/postgres"
"${as[@]}" "$server/initdb" --auth trust --no-sync --username postgres --pgdata "$state/postgres" >/dev/null
echo 'host all all 0.0.0.0/0 trust' >>"$state/postgres/pg_hba.conf"
run postgres "${as[@]}" "$server/postgres" -D "$state/postgres" -k "$state/postgres" -c listen_addresses=$host -c fsync=off -c max_connections=400
export SNOWPACK_TEST_DATABASE_URL=postgres://postgres@$host/postgres

mkdir -p "$state/s3/attributes" "$state/s3/buckets/lake-test"
# The key is testkit's.
run s3 env ROOT_ACCESS_KEY=test-key-id ROOT_SECRET_KEY=test-secret-hunter2 \
  "$SNOWPACK_TEST_S3" --port $host:7070 --region us-east-1 --quiet posix --sidecar "$state/s3/attributes" "$state/s3/buckets"
await "Postgres answers" "$server/pg_isready" --host $host
