-- $1 table, $2 it and its views and functions. OIDs that are others after a swap, and what has them.
WITH relation AS (
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($2::oid[])),
row_type AS (
    SELECT y.oid, y.typarray FROM pg_catalog.pg_type y JOIN relation r ON y.typrelid = r.oid)
SELECT o.objid::int8 AS oid, pg_catalog.pg_describe_object(o.classid, o.objid, 0) AS what
  FROM (SELECT 'pg_catalog.pg_class'::regclass::oid AS classid, r.oid AS objid FROM relation r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid
          FROM relation r JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
        UNION ALL
        SELECT 'pg_catalog.pg_type'::regclass, y.oid FROM row_type y
        UNION ALL
        SELECT 'pg_catalog.pg_type'::regclass, y.typarray FROM row_type y WHERE y.typarray <> 0
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::regclass, p.oid
          FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($2::oid[])) o
 ORDER BY o.objid <> $1, 2
