CREATE TABLE users (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    email text UNIQUE
);
INSERT INTO users (name, email)
    SELECT 'First' || n || ' Last' || n, 'user' || n || '@example.com' FROM generate_series(1, 1000) n;
UPDATE users SET name = '' WHERE id = 3;
UPDATE users SET email = NULL WHERE id IN (4, 5);
