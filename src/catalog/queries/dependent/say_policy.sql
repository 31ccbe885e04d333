-- $1 policy. What gives it its expressions again; names as search_path shows them.
SELECT pg_catalog.format('ALTER POLICY %I ON %s%s%s', p.polname, p.polrelid::regclass,
           CASE WHEN p.polqual IS NOT NULL THEN pg_catalog.format(' USING (%s)',
               pg_catalog.pg_get_expr(p.polqual, p.polrelid)) END,
           CASE WHEN p.polwithcheck IS NOT NULL THEN pg_catalog.format(' WITH CHECK (%s)',
               pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) END) AS statement
  FROM pg_catalog.pg_policy p WHERE p.oid = $1
