-- A deployment with the number 30 whose live table was dropped after the swap.
ALTER TABLE bluegreen.deployment ALTER COLUMN id RESTART WITH 30;
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
CALL bg_run('users', 'swapped');
DROP TABLE users;
