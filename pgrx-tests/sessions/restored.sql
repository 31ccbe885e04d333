-- A restored dump of a database with an open deployment.
\set restored :DBNAME
\setenv RESTORED :DBNAME
CREATE DATABASE dumped;
\connect dumped
CREATE EXTENSION pg_bluegreen;
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
CALL bg_run('users');
\! pg_dump dumped | psql -X -q -v ON_ERROR_STOP=1 -d "$RESTORED"
\connect :restored postgres
DROP DATABASE dumped;
