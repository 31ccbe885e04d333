DO $$
BEGIN
    ASSERT (SELECT array_agg(last_name ORDER BY id) FROM users WHERE id IN (1, 2, 3, 1001))
           = ARRAY['Byron', 'Last3', 'Lovelace'];
END $$;
