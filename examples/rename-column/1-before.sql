CREATE TABLE users (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    email text NOT NULL UNIQUE
);
CREATE INDEX users_name ON users (name);
CREATE VIEW names AS SELECT id, name FROM users;
INSERT INTO users (name, email)
    SELECT 'First' || n || ' Last' || n, 'user' || n || '@example.com' FROM generate_series(1, 1000) n;
