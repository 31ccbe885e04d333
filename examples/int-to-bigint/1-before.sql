CREATE TABLE orders (
    id   serial PRIMARY KEY,
    item text NOT NULL
);
CREATE TABLE payments (
    id       serial PRIMARY KEY,
    order_id int NOT NULL REFERENCES orders,
    amount   numeric NOT NULL
);
INSERT INTO orders (item) SELECT 'item ' || n FROM generate_series(1, 1000) n;
INSERT INTO payments (order_id, amount) SELECT n, n FROM generate_series(1, 1000) n;
