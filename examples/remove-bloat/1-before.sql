CREATE TABLE users (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    email text NOT NULL UNIQUE
);
INSERT INTO users (name, email)
    SELECT 'First' || n || ' Last' || n, 'user' || n || '@example.com' FROM generate_series(1, 10000) n;
-- Each update leaves a dead version of every row.
UPDATE users SET name = name || '.';
UPDATE users SET name = rtrim(name, '.');
DELETE FROM users WHERE id % 2 = 0;
CREATE TABLE size_before AS SELECT pg_total_relation_size('users') AS bytes;
