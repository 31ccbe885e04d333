-- $1 rule. What makes it again, with its state; names as search_path shows them.
SELECT s.statement FROM (
    SELECT 1 AS step, pg_catalog.pg_get_ruledef(r.oid, true) AS statement
      FROM pg_catalog.pg_rewrite r WHERE r.oid = $1
    UNION ALL
    SELECT 2, pg_catalog.format('COMMENT ON RULE %I ON %s IS %L', r.rulename, r.ev_class::regclass,
               d.description)
      FROM pg_catalog.pg_rewrite r
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_rewrite'::regclass AND d.objoid = r.oid AND d.objsubid = 0
     WHERE r.oid = $1
    UNION ALL
    SELECT 3, pg_catalog.format('ALTER TABLE %s %s RULE %I', r.ev_class::regclass,
               CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA'
               ELSE 'ENABLE ALWAYS' END, r.rulename)
      FROM pg_catalog.pg_rewrite r WHERE r.oid = $1 AND r.ev_enabled <> 'O') s
 ORDER BY s.step
