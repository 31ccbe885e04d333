-- $1 relations, $2 functions: what they are, with the extension of those that belong to one.
SELECT pg_catalog.pg_describe_object(o.classid, o.objid, 0) AS title, e.extname::text AS extension
  FROM (SELECT 'pg_catalog.pg_class'::regclass, x::oid FROM pg_catalog.unnest($1) x
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::regclass, x::oid FROM pg_catalog.unnest($2) x) o(classid, objid)
  LEFT JOIN pg_catalog.pg_depend d ON d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e'
  LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 WHERE pg_catalog.pg_describe_object(o.classid, o.objid, 0) IS NOT NULL
 ORDER BY e.extname NULLS LAST, 1
