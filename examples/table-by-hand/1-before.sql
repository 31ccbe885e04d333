CREATE TABLE events (
    kind    text NOT NULL,
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload text NOT NULL,
    seen    boolean NOT NULL
);
INSERT INTO events (kind, payload, seen)
    SELECT 'kind ' || n % 3, '{"n": ' || n || '}', n % 2 = 0 FROM generate_series(1, 1000) n;
