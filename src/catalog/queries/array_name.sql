-- The array type of the row type of relation $1, if it has another name than that of relation $2.
SELECT a.oid::int8 AS array, a.typnamespace::int8 AS schema, o.typname::text AS name
  FROM pg_catalog.pg_type r
  JOIN pg_catalog.pg_type a ON a.oid = r.typarray
  JOIN pg_catalog.pg_type p ON p.typrelid = $2
  JOIN pg_catalog.pg_type o ON o.oid = p.typarray
 WHERE r.typrelid = $1 AND o.typname <> a.typname
