-- $1 relation. Bytes of it with its TOAST table, and of its indexes.
SELECT pg_catalog.pg_table_size($1::pg_catalog.oid::pg_catalog.regclass) AS "table",
       coalesce(pg_catalog.sum(pg_catalog.pg_relation_size(i.indexrelid)), 0)::bigint AS indexes
  FROM pg_catalog.pg_index i WHERE i.indrelid = $1
