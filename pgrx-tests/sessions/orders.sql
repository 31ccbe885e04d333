-- A serial key that has become bigint.
CREATE TABLE orders (id serial PRIMARY KEY, item text);
INSERT INTO orders (item) SELECT 'item ' || n FROM generate_series(1, 100) n;
ALTER TABLE orders OWNER TO app;
\connect - app
SELECT bg_prepare('orders', 'ALTER COLUMN id TYPE bigint');
CALL bg_run('orders', 'finished');
