-- The table users, without rows.
\ir users.sql
TRUNCATE users RESTART IDENTITY;
