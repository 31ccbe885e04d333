-- $1 relation. Its marks: row security and labels, which need nothing, as `early`; those of its
-- statistics objects and indexes as `late`. A replica identity whose index was dropped is none. Names as search_path shows them.
SELECT s.statement, s.late FROM (
    SELECT 1 AS step, 0 AS n, pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.oid::regclass)
               AS statement, false AS late
      FROM pg_catalog.pg_class c WHERE c.oid = $1 AND c.relrowsecurity
    UNION ALL
    SELECT 2, 0, pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass), false
      FROM pg_catalog.pg_class c WHERE c.oid = $1 AND c.relforcerowsecurity
    UNION ALL
    SELECT 3, l.objsubid, CASE l.objsubid
               WHEN 0 THEN pg_catalog.format('SECURITY LABEL FOR %I ON TABLE %s IS %L', l.provider,
                        l.objoid::regclass, l.label)
               ELSE pg_catalog.format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider,
                        l.objoid::regclass, a.attname, l.label) END, false
      FROM pg_catalog.pg_seclabel l
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid
     WHERE l.classoid = 'pg_catalog.pg_class'::regclass AND l.objoid = $1
    UNION ALL
    SELECT 4, 0, pg_catalog.format('ALTER TABLE %s CLUSTER ON %I', i.indrelid::regclass, x.relname), true
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     WHERE i.indrelid = $1 AND i.indisclustered
    UNION ALL
    SELECT 5, 0, pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', c.oid::regclass,
               CASE WHEN c.relreplident = 'f' THEN 'FULL'
               WHEN x.oid IS NULL THEN 'NOTHING'
               ELSE pg_catalog.format('USING INDEX %I', x.relname) END), true
      FROM pg_catalog.pg_class c
      LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisreplident
      LEFT JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     WHERE c.oid = $1 AND c.relreplident <> 'd') s
 ORDER BY s.step, s.n
