-- $1 relation, $2 it and its views and functions. Policies and rules of other tables that depend on
-- any of them.
SELECT DISTINCT 'policy' AS kind, p.oid::int8 AS oid, p.polname::text AS name,
       p.polrelid::int8 AS relation, n.nspname::text AS schema, c.relname::text AS relation_name,
       pg_catalog.format('policy %I of %I.%I', p.polname, n.nspname, c.relname) AS title
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_policy p ON p.oid = d.objid
  JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type t ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
 WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND p.polrelid <> $1
   AND coalesce(nullif(t.typrelid, 0), d.refobjid) = ANY ($2::oid[])
UNION ALL
SELECT DISTINCT 'rule', r.oid::int8, r.rulename::text, r.ev_class::int8, n.nspname::text,
       c.relname::text, pg_catalog.format('rule %I of %I.%I', r.rulename, n.nspname, c.relname)
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename <> '_RETURN'
  JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type t ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
 WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.ev_class <> ALL ($2::oid[])
   AND coalesce(nullif(t.typrelid, 0), d.refobjid) = ANY ($2::oid[])
 ORDER BY title
