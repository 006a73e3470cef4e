#!/bin/bash
# make_database.sh DIR: make the PostgreSQL 15 cluster that the benchmarks dump (database `bench`), and leave it stopped.
#
# pgbench at scale 200 (very compressible), `docs` (json and text, 2.1x with zstd -3), 2,000 small tables; page checksums on.
# A dump with -Fc -Z0 is about 3.1 GB. Deterministic: rows come from seeded generators. Needs root (runs as user postgres),
# 12 GB, and PGBIN (default: Debian's PostgreSQL 15). SCALE, TEXT_MB and SMALL_TABLES make a smaller one for a trial.
set -euo pipefail
[ $# = 1 ] || { echo "usage: make_database.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); dir=$(realpath -m "$1"); socket=$(dirname "$dir")/sock
bin=${PGBIN:-/usr/lib/postgresql/15/bin}
[ ! -e "$dir/PG_VERSION" ] || { echo "make_database.sh: $dir holds a cluster already" >&2; exit 1; }
as() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp "$@"; }
mkdir -p "$dir" "$socket"; chown postgres "$dir" "$socket"; chmod 700 "$dir"

as "$bin/initdb" -D "$dir" -k --no-sync -A trust -E UTF8 --locale=C.UTF-8 > /dev/null
cat >> "$dir/postgresql.conf" <<C
listen_addresses = ''                  # the unix socket only
unix_socket_directories = '$socket'
shared_buffers = 1GB
max_wal_size = 1GB
min_wal_size = 256MB
checkpoint_timeout = 60min
wal_level = replica
max_wal_senders = 8
autovacuum = off                       # nothing but the benchmark runs
synchronous_commit = off
C
as "$bin/pg_ctl" -D "$dir" -l "$socket/server.log" -w start > /dev/null
trap 'as "$bin/pg_ctl" -D "$dir" -m fast -w stop > /dev/null' EXIT
export PGHOST=$socket PGUSER=postgres
sql() { as "$bin/psql" -XqAt -v ON_ERROR_STOP=1 bench "$@"; }

as "$bin/createdb" bench
as "$bin/pgbench" -i -q -s "${SCALE:-200}" bench 2>&1 | tail -n 1
sql -c "create table docs(id int primary key, ts timestamp, kind text, doc jsonb, body text)"
python3 "$here/make_rows.py" "${TEXT_MB:-1000}" | sql -c "copy docs from stdin"
sql -c "create index on docs(ts)"
tables=${SMALL_TABLES:-2000}
for first in $(seq 1 200 "$tables"); do # 200 tables per transaction: enough locks for the default settings
  for i in $(seq "$first" $((first + 199 < tables ? first + 199 : tables))); do
    echo "create table small_$i(id int primary key, name text, v numeric, at timestamptz);
      insert into small_$i select g, md5((g*$i)::text), g*1.5, '2024-01-01 UTC'::timestamptz + g*interval '1 minute'
        from generate_series(1, 20+($i*37)%200) g;"
  done | sql -1
done
sql -c "vacuum analyze" -c checkpoint
sql -c "select 'bench ' || pg_size_pretty(pg_database_size('bench'))"
