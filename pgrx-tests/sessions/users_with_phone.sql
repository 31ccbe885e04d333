-- The table users after a deployment that added a column, with bg_finish.
\ir users.sql
ALTER TABLE users ADD COLUMN phone text;
UPDATE users SET phone = id::text;
