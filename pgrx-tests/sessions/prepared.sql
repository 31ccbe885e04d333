-- The table users in the phase prepared.
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ADD COLUMN phone text');
