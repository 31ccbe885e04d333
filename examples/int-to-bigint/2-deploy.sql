SELECT bg_prepare('orders', 'ALTER COLUMN id TYPE bigint');
CALL bg_run('orders', 'finished');
ALTER SEQUENCE orders_id_seq AS bigint;

SELECT bg_prepare('payments', 'ALTER COLUMN order_id TYPE bigint');
CALL bg_run('payments', 'finished');
