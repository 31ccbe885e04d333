-- Columns of users' tables whose values are OIDs of tables, types or functions: oid, regclass, regtype,
-- regproc, regprocedure, arrays and domains of them. Tables of extensions are asked about elsewhere.
WITH RECURSIVE kept (oid, is_array) AS (
    SELECT t.oid, false FROM pg_catalog.pg_type t
     WHERE t.oid = ANY ('{oid,regclass,regtype,regproc,regprocedure}'::regtype[])
    UNION
    SELECT t.oid, k.is_array OR t.typtype <> 'd'
      FROM kept k
      JOIN pg_catalog.pg_type e ON e.oid = k.oid
      JOIN pg_catalog.pg_type t ON (t.typtype = 'd' AND t.typbasetype = k.oid)
        OR (t.oid = e.typarray AND NOT k.is_array))
SELECT n.nspname::text AS schema, c.relname::text AS table_name, a.attname::text AS column_name,
       c.relowner::int8 AS owner, k.is_array,
       NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                     JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
                     JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname IN ('btree', 'hash')
                    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
                      AND i.indkey[0] = a.attnum AND NOT k.is_array)
       AND (c.reltuples > $1 OR pg_catalog.pg_relation_size(c.oid) > $2) AS too_large
  FROM pg_catalog.pg_attribute a
  JOIN kept k ON k.oid = a.atttypid
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated IN ('', 's')
   AND c.relkind IN ('r', 'm') AND c.relam = 2 AND c.relpersistence <> 't' AND c.relispopulated
   AND n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', 'bluegreen')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                    WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid
                      AND e.deptype = 'e')
 ORDER BY 1, 2, a.attnum
