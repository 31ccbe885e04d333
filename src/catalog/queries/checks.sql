-- $1 relation. Its CHECK constraints.
SELECT k.oid::int8 AS oid, k.conname::text AS name, k.contype::text AS kind,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition, false AS deferrable, false AS deferred,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment,
       k.convalidated AS valid, k.connoinherit AS no_inherit
  FROM pg_catalog.pg_constraint k
 WHERE k.conrelid = $1 AND k.contype = 'c'
 ORDER BY k.conname
