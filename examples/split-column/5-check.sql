DO $$
BEGIN
    ASSERT (SELECT array_agg(name ORDER BY id) FROM users WHERE id IN (1, 2, 3, 1001))
           = ARRAY['First1 Byron', 'First3 Last3', 'Ada Lovelace'];
    ASSERT (SELECT count(*) FROM users) = 1000;
    ASSERT (SELECT phase FROM bg_status('users')) = 'ready';
END $$;
