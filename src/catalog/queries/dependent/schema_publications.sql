-- $1 relation. Publications of all tables of its schema.
SELECT p.pubname::text AS name, NULL::json AS columns, NULL::text AS filter,
       coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols' = 's', false) AS sends_generated
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_publication_namespace n ON n.pnnspid = c.relnamespace
  JOIN pg_catalog.pg_publication p ON p.oid = n.pnpubid
 WHERE c.oid = $1
 ORDER BY p.pubname
