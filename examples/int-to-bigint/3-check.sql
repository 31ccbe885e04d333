SELECT setval('orders_id_seq', 3000000000);
INSERT INTO orders (item) VALUES ('large');
INSERT INTO payments (order_id, amount) VALUES (3000000001, 1);

DO $$
BEGIN
    ASSERT (SELECT item FROM orders WHERE id = 3000000001) = 'large';
    ASSERT (SELECT count(*) FROM orders WHERE id <= 1000 AND item = 'item ' || id) = 1000;
    ASSERT (SELECT count(*) FROM payments WHERE amount = order_id) = 1000;
    ASSERT (SELECT bool_and(convalidated) FROM pg_constraint
             WHERE conrelid = 'payments'::regclass AND contype = 'f'
               AND confrelid = 'orders'::regclass);
END $$;
