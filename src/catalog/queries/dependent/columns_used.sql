-- $1 name of a catalog, $2 object of it, $3 relation. Numbers of the relation's columns that the object
-- depends on.
SELECT DISTINCT d.refobjsubid AS attnum
  FROM pg_catalog.pg_depend d
 WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $3 AND d.refobjsubid > 0
   AND ((d.classid = $1::regclass AND d.objid = $2)
     OR ($1::regclass = 'pg_catalog.pg_class'::regclass
         AND d.classid = 'pg_catalog.pg_rewrite'::regclass
         AND d.objid IN (SELECT r.oid FROM pg_catalog.pg_rewrite r
                          WHERE r.ev_class = $2 AND r.rulename = '_RETURN')))
