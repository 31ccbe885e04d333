-- $1 relation. The files in which it and its indexes are stored, its CHECK constraints in the order in which
-- they were made, and its NOT NULL columns whose missing values are not recorded.
SELECT 'table' AS kind, c.relfilenode::int8 AS number, c.relname::text AS name
  FROM pg_catalog.pg_class c WHERE c.oid = $1
UNION ALL
SELECT 'index', c.relfilenode::int8, c.relname::text
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1
UNION ALL
SELECT 'check', k.oid::int8, k.conname::text
  FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'c'
UNION ALL
SELECT 'not null', a.attnum::int8, a.attname::text
  FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasmissing
 ORDER BY 1, 2
