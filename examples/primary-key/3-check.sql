DO $$
BEGIN
    ASSERT (SELECT pg_get_constraintdef(oid) FROM pg_constraint
             WHERE conrelid = 'measurements'::regclass AND contype = 'p') = 'PRIMARY KEY (sensor, at)';
    ASSERT (SELECT count(*) FROM pg_index WHERE indrelid = 'measurements'::regclass) = 1;
    ASSERT (SELECT sum(value) FROM measurements) = 500500;
END $$;
