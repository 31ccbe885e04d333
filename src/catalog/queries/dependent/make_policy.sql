-- $1 policy. What makes it again; names as search_path shows them.
SELECT s.statement FROM (
    SELECT 1 AS step, pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname,
               p.polrelid::regclass,
               CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
               CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                    WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
               (SELECT pg_catalog.string_agg(CASE r.role WHEN 0 THEN 'PUBLIC'
                           ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.role)) END, ', '
                           ORDER BY r.n)
                  FROM pg_catalog.unnest(p.polroles) WITH ORDINALITY r(role, n)),
               CASE WHEN p.polqual IS NOT NULL THEN pg_catalog.format(' USING (%s)',
                   pg_catalog.pg_get_expr(p.polqual, p.polrelid)) END,
               CASE WHEN p.polwithcheck IS NOT NULL THEN pg_catalog.format(' WITH CHECK (%s)',
                   pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) END) AS statement
      FROM pg_catalog.pg_policy p WHERE p.oid = $1
    UNION ALL
    SELECT 2, pg_catalog.format('COMMENT ON POLICY %I ON %s IS %L', p.polname, p.polrelid::regclass,
               d.description)
      FROM pg_catalog.pg_policy p
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_policy'::regclass AND d.objoid = p.oid AND d.objsubid = 0
     WHERE p.oid = $1) s
 ORDER BY s.step
