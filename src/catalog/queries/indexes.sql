-- $1 relation. Its indexes as the server deparses them.
SELECT c.relname::text AS name, pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
       am.amname::text AS method, ts.spcname::text AS tablespace, i.indisclustered AS clustered,
       i.indisreplident AS replica_identity,
       pg_catalog.obj_description(i.indexrelid, 'pg_class') AS comment,
       CASE WHEN k.oid IS NOT NULL THEN pg_catalog.json_build_object(
           'name', k.conname, 'kind', k.contype, 'deferrable', k.condeferrable,
           'deferred', k.condeferred, 'definition', pg_catalog.pg_get_constraintdef(k.oid),
           'comment', pg_catalog.obj_description(k.oid, 'pg_constraint')) END AS constraint,
       coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attstattarget))
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0), '[]') AS statistics
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am am ON am.oid = c.relam
  LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
       AND k.contype IN ('p', 'u', 'x')
 WHERE i.indrelid = $1
 ORDER BY i.indisprimary DESC, c.relname
