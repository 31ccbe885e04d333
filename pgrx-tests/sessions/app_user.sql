-- The table users under the name that Django gives it.
\ir users.sql
ALTER TABLE users RENAME TO app_user;
