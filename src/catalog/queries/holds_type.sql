-- $1 relation, $2 column. Whether something depends on the column's type that ALTER TABLE does not carry to
-- another type, or only with a scan: views, rules, policies, triggers, functions, publications, and CHECK
-- and foreign keys. Also where there is no such column.
SELECT count(*) = 0
       OR bool_or(EXISTS (
              SELECT FROM pg_catalog.pg_depend d
                LEFT JOIN pg_catalog.pg_constraint k
                  ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
               WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                 AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
                 AND CASE d.classid
                       WHEN 'pg_catalog.pg_constraint'::pg_catalog.regclass THEN k.contype IN ('c', 'f')
                       WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN false
                       WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass THEN false
                       WHEN 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass THEN false
                       ELSE true END))
  FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1 AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
