-- The table users after its key has become bigint, with keys that no int can hold.
\ir users.sql
\connect - app
SELECT bg_prepare('users', 'ALTER COLUMN id TYPE bigint');
CALL bg_run('users', 'swapped');
INSERT INTO users (id, name, email) OVERRIDING SYSTEM VALUE
    VALUES (3000000000, 'b', 'b'), (3000000001, 'c', 'c');
