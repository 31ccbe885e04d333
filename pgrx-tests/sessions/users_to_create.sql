-- The table users, whose owner may create another one beside it.
\ir users.sql
GRANT CREATE ON SCHEMA public TO app;
