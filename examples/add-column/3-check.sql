DO $$
BEGIN
    ASSERT (SELECT count(*) FROM users WHERE email_domain = 'example.com') = 1000;
    ASSERT (SELECT email_domain FROM users WHERE id = 1001) = 'example.org';
    ASSERT (SELECT attnotnull FROM pg_attribute
             WHERE attrelid = 'users'::regclass AND attname = 'email_domain');
END $$;
