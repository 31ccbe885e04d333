-- $1 relation. Views and functions that depend on it, on its row type or on one another, in the
-- order in which they can be made (the longest way from the table).
WITH RECURSIVE node (classid, objid, depth) AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid, $1::oid, 0
    UNION
    SELECT next.classid, next.objid, n.depth + next.step
      FROM node n
     CROSS JOIN LATERAL (
        SELECT 'pg_catalog.pg_type'::regclass::oid AS classid, t.oid AS objid, 0 AS step
          FROM pg_catalog.pg_type t
         WHERE n.classid = 'pg_catalog.pg_class'::regclass AND t.typrelid = n.objid
        UNION ALL
        SELECT 'pg_catalog.pg_type'::regclass, t.typarray, 0
          FROM pg_catalog.pg_type t
         WHERE n.classid = 'pg_catalog.pg_type'::regclass AND t.oid = n.objid
           AND t.typrelid <> 0 AND t.typarray <> 0
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass, r.ev_class, 1
          FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
         WHERE d.refclassid = n.classid AND d.refobjid = n.objid
           AND d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.ev_class <> n.objid
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::regclass, d.objid, 1
          FROM pg_catalog.pg_depend d
         WHERE d.refclassid = n.classid AND d.refobjid = n.objid
           AND d.classid = 'pg_catalog.pg_proc'::regclass) next
     WHERE n.depth < 512)
SELECT CASE c.relkind WHEN 'm' THEN 'materialized_view' ELSE 'view' END AS kind,
       c.oid::int8 AS oid, c.relname::text AS name, s.nspname::text AS schema,
       pg_catalog.format('%I.%I', s.nspname, c.relname) AS title, max(n.depth) AS depth,
       c.relkind = 'm' AND c.relispopulated AS populated, c.relpersistence = 't' AS temporary
  FROM node n
  JOIN pg_catalog.pg_class c ON c.oid = n.objid
  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
 WHERE n.classid = 'pg_catalog.pg_class'::regclass AND n.objid <> $1
 GROUP BY c.oid, c.relname, c.relkind, c.relispopulated, c.relpersistence, s.nspname
UNION ALL
SELECT 'function', p.oid::int8, p.proname::text, s.nspname::text, p.oid::regprocedure::text,
       max(n.depth), false, false
  FROM node n
  JOIN pg_catalog.pg_proc p ON p.oid = n.objid
  JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace
 WHERE n.classid = 'pg_catalog.pg_proc'::regclass
 GROUP BY p.oid, p.proname, s.nspname
 ORDER BY depth, kind, title
