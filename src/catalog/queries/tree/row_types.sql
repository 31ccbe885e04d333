-- $1 relations. Their row types, and the arrays of them.
SELECT c.oid::int8 AS relation, c.reltype::int8 AS type, t.typarray::int8 AS array
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype
 WHERE c.oid = ANY ($1::oid[])
