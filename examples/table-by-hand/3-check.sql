INSERT INTO events (seen, kind, payload) VALUES (false, 'late', '{}');

DO $$
BEGIN
    ASSERT (SELECT count(*) FROM events
             WHERE (payload->>'n')::int = id AND kind = 'kind ' || id % 3 AND seen = (id % 2 = 0)) = 1000;
    ASSERT (SELECT id FROM events WHERE kind = 'late') = 1001;
    ASSERT (SELECT count(*) FROM events WHERE source = 'unknown') = 1001;
    ASSERT to_regclass('events_new') IS NULL;
END $$;
