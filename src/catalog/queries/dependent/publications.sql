-- $1 relation. Publications that name it.
SELECT p.pubname::text AS name,
       (SELECT pg_catalog.json_agg(a.attname ORDER BY x.i)
          FROM pg_catalog.unnest(r.prattrs::int2[]) WITH ORDINALITY x(n, i)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = x.n) AS columns,
       pg_catalog.pg_get_expr(r.prqual, r.prrelid) AS filter,
       coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols' = 's', false) AS sends_generated
  FROM pg_catalog.pg_publication_rel r
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
 WHERE r.prrelid = $1
 ORDER BY p.pubname
