-- Columns of the tables of other extensions that can hold the OID of a table.
SELECT n.nspname::text AS schema, c.relname::text AS name, a.attname::text AS column,
       e.extname::text AS extension, c.relowner::int8 AS owner, b.typelem <> 0 AS is_array
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
  JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
   AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
   AND (b.oid IN ('pg_catalog.oid'::regtype, 'pg_catalog.regclass'::regtype)
        OR b.typelem IN ('pg_catalog.oid'::regtype, 'pg_catalog.regclass'::regtype))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend o
                    WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.deptype = 'e'
                      AND o.objid = 'bluegreen.deployment'::regclass AND o.refobjid = e.oid)
 ORDER BY 4, 1, 2, a.attnum
