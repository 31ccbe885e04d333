DO $$
BEGIN
    ASSERT (SELECT count(*) FROM bg_misfits()) = 0;
    ASSERT (SELECT array_agg((name, email)::text ORDER BY id) FROM users WHERE id BETWEEN 3 AND 5)
           = ARRAY['(unknown,user3@example.com)', '("First4 Last4",none-4)', '("First5 Last5",none-5)'];
    BEGIN
        INSERT INTO users (name, email) VALUES ('', 'x');
        RAISE EXCEPTION 'a row that violates the new constraint was accepted';
    EXCEPTION WHEN check_violation THEN
        NULL;
    END;
END $$;
