-- The table of docs/recipes.md, with 5000 rows. Its owner has no CREATE on the schema.
CREATE TABLE users (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    email text UNIQUE
);
INSERT INTO users (name, email)
    SELECT 'First' || n || ' Last' || n, 'user' || n || '@example.com' FROM generate_series(1, 5000) n;
ALTER TABLE users OWNER TO app;
ANALYZE users;
