DO $$
BEGIN
    ASSERT (SELECT count(*) FROM users WHERE full_name = 'First' || id || ' Last' || id) = 1000;
    ASSERT (SELECT name FROM names WHERE id = 7) = 'First7 Last7';
    ASSERT (SELECT indexdef FROM pg_indexes WHERE indexname = 'users_name') LIKE '%(full_name)';
END $$;
