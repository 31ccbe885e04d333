-- A deployment with the number 15 whose live table was dropped after the swap and created again, and
-- which the next bg_prepare has ended.
ALTER TABLE bluegreen.deployment ALTER COLUMN id RESTART WITH 15;
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
CALL bg_run('users', 'swapped');
DROP TABLE users;
\connect - postgres
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
