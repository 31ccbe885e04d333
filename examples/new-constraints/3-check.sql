SELECT key, error FROM bg_misfits() WHERE source = 'public.users';

DO $$
BEGIN
    ASSERT (SELECT array_agg(key->>'id' ORDER BY key->>'id') FROM bg_misfits())
           = ARRAY['3', '4', '5'];
    ASSERT (SELECT misfits FROM bg_status('users')) = 3;
END $$;
