-- $1 relation. Numbers of its columns that are there, in order.
SELECT a.attnum::int4 AS attnum
  FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
