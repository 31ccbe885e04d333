-- $1 relations. The directories to which work on them writes, relative to the data directory: their
-- tablespaces, those of their indexes and TOAST tables, the database's own, and that of the WAL. With the
-- bytes that a copy of the relations, and the sort of the largest index, need there.
WITH space AS (
    SELECT d.dattablespace AS own FROM pg_catalog.pg_database d
     WHERE d.datname = pg_catalog.current_database()
), files AS (
    SELECT c.oid, c.reltablespace AS space, false AS is_index
      FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[])
    UNION ALL
    SELECT c.oid, c.reltablespace, true
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = ANY ($1::oid[])
), sizes AS (
    SELECT f.space, f.is_index,
           CASE WHEN $2 THEN CASE WHEN f.is_index THEN pg_catalog.pg_relation_size(f.oid)
                                  ELSE pg_catalog.pg_table_size(f.oid) END
                ELSE 0 END AS bytes
      FROM files f
), needs AS (
    SELECT space, bytes FROM sizes
    UNION ALL
    SELECT 0, coalesce(max(bytes) FILTER (WHERE is_index), 0) FROM sizes
)
SELECT CASE t.spcname WHEN 'pg_default' THEN 'base' WHEN 'pg_global' THEN 'global'
            ELSE 'pg_tblspc/' || t.oid END AS path,
       'tablespace ' || t.spcname AS name, pg_catalog.sum(n.bytes)::bigint AS needed
  FROM needs n CROSS JOIN space s
  JOIN pg_catalog.pg_tablespace t ON t.oid = CASE n.space WHEN 0 THEN s.own ELSE n.space END
 GROUP BY t.oid, t.spcname
UNION ALL
SELECT 'pg_wal', 'pg_wal', 0
 ORDER BY 1
