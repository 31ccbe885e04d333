DO $$
BEGIN
    ASSERT (SELECT pg_total_relation_size('users') < bytes / 2 FROM size_before);
    ASSERT (SELECT count(*) FROM users WHERE name = 'First' || id || ' Last' || id) = 5000;
END $$;
