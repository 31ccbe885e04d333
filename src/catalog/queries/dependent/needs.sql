-- $1 name of a catalog, $2 object of it. What it depends on: catalog, OID, owner (none: the bootstrap
-- superuser, or an object without owner); a row type stands for its relation. For a relation, what
-- its query depends on.
SELECT DISTINCT u.class, u.oid, h.refobjid::int8 AS owner
  FROM (SELECT CASE WHEN coalesce(nullif(t.typrelid, 0), e.typrelid) IS NULL THEN d.refclassid
                    ELSE 'pg_catalog.pg_class'::regclass END::int8 AS class,
               coalesce(nullif(t.typrelid, 0), e.typrelid, d.refobjid)::int8 AS oid
          FROM (SELECT $1::regclass::oid AS classid, $2::oid AS objid
                 WHERE $1::regclass <> 'pg_catalog.pg_class'::regclass
                UNION ALL
                SELECT 'pg_catalog.pg_rewrite'::regclass, r.oid FROM pg_catalog.pg_rewrite r
                 WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND r.ev_class = $2
                   AND r.rulename = '_RETURN') o
          JOIN pg_catalog.pg_depend d ON d.classid = o.classid AND d.objid = o.objid
          LEFT JOIN pg_catalog.pg_type t
            ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
          LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid AND e.typrelid <> 0
         WHERE d.refobjid <> $2
           AND d.refclassid NOT IN ('pg_catalog.pg_namespace'::regclass,
               'pg_catalog.pg_constraint'::regclass)) u
  LEFT JOIN pg_catalog.pg_shdepend h
    ON h.dbid = (SELECT b.oid FROM pg_catalog.pg_database b
                  WHERE b.datname = pg_catalog.current_database())
   AND h.classid = u.class::oid AND h.objid = u.oid::oid AND h.deptype = 'o'
