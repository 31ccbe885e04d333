-- $1 relation, $2 it and its views and functions. What hangs on them and cannot be carried over.
WITH t AS (
    SELECT c.oid, c.relnamespace, c.reltype, y.typarray
      FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_type y ON y.oid = c.reltype
     WHERE c.oid = $1),
node (classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid FROM pg_catalog.pg_class c
     WHERE c.oid = ANY ($2::oid[])
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, p.oid FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($2::oid[])
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, y.oid FROM pg_catalog.pg_type y
     WHERE y.typrelid = ANY ($2::oid[])
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, y.typarray FROM pg_catalog.pg_type y
     WHERE y.typrelid = ANY ($2::oid[]) AND y.typarray <> 0)
SELECT 'publication of everything' AS kind, p.pubname::text AS name
  FROM t, pg_catalog.pg_publication p WHERE p.puballtables
UNION ALL
SELECT 'subscription', s.subname::text
  FROM t JOIN pg_catalog.pg_subscription_rel r ON r.srrelid = t.oid
  JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
UNION ALL
SELECT 'inheritance parent', h.inhparent::regclass::text
  FROM t JOIN pg_catalog.pg_inherits h ON h.inhrelid = t.oid
UNION ALL
SELECT 'inheritance child', h.inhrelid::regclass::text
  FROM t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid
  JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
 WHERE c.relkind NOT IN ('i', 'I')
UNION ALL
SELECT 'extension', e.extname || CASE WHEN d.objid = $1 THEN '' ELSE ' (' ||
           pg_catalog.pg_describe_object(d.classid, d.objid, 0) || ')' END
  FROM node n JOIN pg_catalog.pg_depend d ON d.classid = n.classid AND d.objid = n.objid AND d.deptype = 'e'
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
UNION ALL
SELECT 'use of an extension', pg_catalog.pg_describe_object(d.classid, d.objid, 0) || ' on extension '
           || e.extname
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_extension e
    ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
 WHERE d.deptype = 'x'
   AND ((d.classid, d.objid) IN (SELECT n.classid, n.objid FROM node n)
        OR (d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid IN (
                SELECT g.oid FROM pg_catalog.pg_trigger g WHERE g.tgrelid = ANY ($2::oid[])))
        OR (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (
                SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = ANY ($2::oid[]))))
UNION ALL
SELECT 'invalid index', i.indexrelid::regclass::text
  FROM pg_catalog.pg_index i WHERE i.indrelid = ANY ($2::oid[]) AND NOT i.indisvalid
UNION ALL
SELECT 'column', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM node n JOIN pg_catalog.pg_depend d ON d.refclassid = n.classid AND d.refobjid = n.objid
  JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
 WHERE n.classid = 'pg_catalog.pg_type'::regclass AND d.objsubid <> 0 AND c.oid <> ALL ($2::oid[])
UNION ALL
SELECT DISTINCT 'object', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_depend d
    ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indexrelid
 WHERE i.indrelid = $1
   AND d.classid IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass,
       'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_trigger'::regclass,
       'pg_catalog.pg_attrdef'::regclass)
UNION ALL
SELECT 'temporary view', c.oid::regclass::text
  FROM pg_catalog.pg_class c
 WHERE c.oid = ANY ($2::oid[]) AND c.oid <> $1 AND c.relpersistence = 't'
UNION ALL
SELECT 'aggregate', p.oid::regprocedure::text
  FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($2::oid[]) AND p.prokind = 'a'
UNION ALL
SELECT DISTINCT 'object', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM node n JOIN pg_catalog.pg_depend d ON d.refclassid = n.classid AND d.refobjid = n.objid
  LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
  LEFT JOIN pg_catalog.pg_attrdef a ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND a.oid = d.objid
  LEFT JOIN pg_catalog.pg_trigger g ON d.classid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objid
  LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
  LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
  LEFT JOIN pg_catalog.pg_statistic_ext s
    ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND s.oid = d.objid
 WHERE (d.classid, d.objid) NOT IN (SELECT o.classid, o.objid FROM node o)
   AND d.classid NOT IN ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass,
       'pg_catalog.pg_publication_rel'::regclass)
   AND NOT coalesce((k.conrelid = $1 OR (k.contype = 'f' AND k.confrelid = $1)) AND (n.objid = $1 OR k.contype IN ('f', 't')), false)
   AND NOT coalesce(a.adrelid = ANY ($2::oid[]) AND (n.objid = $1 OR a.adrelid <> $1), false)
   AND NOT coalesce(g.tgrelid = ANY ($2::oid[]) OR g.tgisinternal, false)
   AND NOT coalesce(i.indrelid = ANY ($2::oid[]) AND (n.objid = $1 OR i.indrelid <> $1), false)
   AND NOT coalesce(c.relkind IN ('t', 'S'), false)
   AND NOT coalesce(c.relkind IN ('r', 'p', 'f', 'c') AND d.objsubid <> 0, false)
   AND NOT coalesce(c.relkind IN ('r', 'p', 'f') AND EXISTS (
           SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid AND h.inhparent = $1), false)
   AND NOT coalesce(s.stxrelid = $1 AND n.objid = $1, false)
ORDER BY 1, 2
