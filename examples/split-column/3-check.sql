DO $$
BEGIN
    ASSERT (SELECT count(*) FROM users
             WHERE (first_name, last_name) = ('First' || id, 'Last' || id)) = 1000;
END $$;
