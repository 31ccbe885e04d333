-- The array types of the row types of relations $1 that have other names than those of relations $2, pair by pair.
SELECT a.oid::int8 AS array, a.typnamespace::int8 AS schema, o.typname::text AS name
  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS p (relation, original)
  JOIN pg_catalog.pg_class r ON r.oid = p.relation::pg_catalog.oid
  JOIN pg_catalog.pg_type t ON t.oid = r.reltype
  JOIN pg_catalog.pg_type a ON a.oid = t.typarray
  JOIN pg_catalog.pg_class l ON l.oid = p.original::pg_catalog.oid
  JOIN pg_catalog.pg_type s ON s.oid = l.reltype
  JOIN pg_catalog.pg_type o ON o.oid = s.typarray
 WHERE o.typname <> a.typname
