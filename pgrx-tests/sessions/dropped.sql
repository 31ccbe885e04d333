-- A deployment with the number 15 whose live table was dropped before the swap.
ALTER TABLE bluegreen.deployment ALTER COLUMN id RESTART WITH 15;
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
CALL bg_run('users');
DROP TABLE users;
