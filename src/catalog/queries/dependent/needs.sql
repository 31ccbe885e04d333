-- $1 name of a catalog, $2 object of it. OIDs of what it depends on; a row type stands for its relation. For a
-- relation, what its query depends on.
SELECT DISTINCT coalesce(nullif(t.typrelid, 0), e.typrelid, d.refobjid)::int8 AS oid
  FROM (SELECT $1::regclass::oid AS classid, $2::oid AS objid
         WHERE $1::regclass <> 'pg_catalog.pg_class'::regclass
        UNION ALL
        SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid FROM pg_catalog.pg_rewrite r
         WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND r.ev_class = $2 AND r.rulename = '_RETURN') o
  JOIN pg_catalog.pg_depend d ON d.classid = o.classid AND d.objid = o.objid
  LEFT JOIN pg_catalog.pg_type t
    ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
  LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid AND e.typrelid <> 0
 WHERE d.refobjid <> $2
