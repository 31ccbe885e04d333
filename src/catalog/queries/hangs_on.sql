-- $1 relation. Everything that hangs on it and is not carried over yet: kind and name.
WITH t AS (
    SELECT c.oid, c.reltype, y.typarray
      FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_type y ON y.oid = c.reltype
     WHERE c.oid = $1)
SELECT 'trigger' AS kind, g.tgname::text AS name
  FROM t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid
 WHERE NOT g.tgisinternal AND g.tgname NOT IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard')
UNION ALL
SELECT 'rule', r.rulename::text FROM t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid
 WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'row security policy', p.polname::text FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 'foreign key', k.conname::text
  FROM t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
UNION ALL
SELECT 'foreign key of another table', k.conname || ' on ' || k.conrelid::regclass::text
  FROM t JOIN pg_catalog.pg_constraint k ON k.confrelid = t.oid AND k.contype = 'f'
   AND k.conrelid <> t.oid
UNION ALL
SELECT DISTINCT CASE v.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                     ELSE 'rule of another table' END,
       CASE WHEN v.relkind IN ('v', 'm') THEN v.oid::regclass::text
            ELSE r.rulename || ' on ' || v.oid::regclass::text END
  FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = t.oid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
  JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
 WHERE r.ev_class <> t.oid
UNION ALL
SELECT DISTINCT 'policy of another table', p.polname || ' on ' || p.polrelid::regclass::text
  FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = t.oid AND d.classid = 'pg_catalog.pg_policy'::regclass
  JOIN pg_catalog.pg_policy p ON p.oid = d.objid
 WHERE p.polrelid <> t.oid
UNION ALL
SELECT DISTINCT 'function', d.objid::regprocedure::text
  FROM t JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass
   AND ((d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.oid)
     OR (d.refclassid = 'pg_catalog.pg_type'::regclass AND d.refobjid IN (t.reltype, t.typarray)))
UNION ALL
SELECT DISTINCT 'use of the table''s row type',
       pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_type'::regclass
   AND d.refobjid IN (t.reltype, t.typarray)
 WHERE d.classid <> 'pg_catalog.pg_proc'::regclass
   AND NOT (d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.typarray)
UNION ALL
SELECT 'publication', p.pubname::text
  FROM t JOIN pg_catalog.pg_publication_rel r ON r.prrelid = t.oid
  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT 'publication', p.pubname::text || ' (all tables)'
  FROM t, pg_catalog.pg_publication p WHERE p.puballtables
UNION ALL
SELECT 'publication', p.pubname::text || ' (tables in schema)'
  FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid
  JOIN pg_catalog.pg_publication_namespace pn ON pn.pnnspid = c.relnamespace
  JOIN pg_catalog.pg_publication p ON p.oid = pn.pnpubid
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
SELECT 'extension', e.extname::text
  FROM t JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass
   AND d.objid = t.oid AND d.deptype = 'e'
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
UNION ALL
SELECT 'security label', l.provider
  FROM t JOIN pg_catalog.pg_seclabel l ON l.classoid = 'pg_catalog.pg_class'::regclass
   AND l.objoid = t.oid
UNION ALL
SELECT 'invalid index', i.indexrelid::regclass::text
  FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE NOT i.indisvalid
UNION ALL
SELECT 'cluster mark', i.indexrelid::regclass::text
  FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE i.indisclustered
UNION ALL
SELECT 'statistics target', s.stxname::text
  FROM t JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = t.oid
 WHERE coalesce(s.stxstattarget, -1) >= 0
UNION ALL
SELECT DISTINCT 'object', pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.refobjid = t.oid
 WHERE d.classid NOT IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_constraint'::regclass,
       'pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_type'::regclass,
       'pg_catalog.pg_trigger'::regclass, 'pg_catalog.pg_rewrite'::regclass,
       'pg_catalog.pg_policy'::regclass, 'pg_catalog.pg_proc'::regclass,
       'pg_catalog.pg_statistic_ext'::regclass, 'pg_catalog.pg_publication_rel'::regclass)
ORDER BY 1, 2
