-- $1 materialized view, $2 its copy. What gives the copy's columns and indexes the settings that a
-- definition has not; of columns only where the type is the same, which may not have such settings else.
SELECT s.statement FROM (
    SELECT 1 AS step, a.attnum::int8 AS n, pg_catalog.format(
               'ALTER MATERIALIZED VIEW %s ALTER COLUMN %I %s', b.attrelid::regclass, b.attname, w.what) AS statement
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_attribute b ON b.attrelid = $2 AND b.attname = a.attname AND b.atttypid = a.atttypid
     CROSS JOIN LATERAL (
        SELECT 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                   WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END AS what
         WHERE a.attstorage <> b.attstorage
        UNION ALL
        SELECT 'SET COMPRESSION ' || CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4'
                   ELSE 'default' END
         WHERE a.attcompression <> b.attcompression
        UNION ALL
        SELECT pg_catalog.format('SET (%s)', pg_catalog.string_agg(pg_catalog.format('%I=%L',
                   pg_catalog.split_part(o.o, '=', 1), pg_catalog.split_part(o.o, '=', 2)), ', '))
          FROM pg_catalog.unnest(a.attoptions) o(o) WHERE o.o LIKE 'n\_distinct%' HAVING count(*) > 0) w
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND NOT b.attisdropped
    UNION ALL
    SELECT 2, a.attnum, pg_catalog.format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', y.oid::regclass,
               a.attnum, a.attstattarget)
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid AND a.attstattarget >= 0
      JOIN pg_catalog.pg_index j ON j.indrelid = $2
      JOIN pg_catalog.pg_class y ON y.oid = j.indexrelid AND y.relname = x.relname
     WHERE i.indrelid = $1
    UNION ALL
    SELECT 3, 0, pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', b.oid::regclass,
               CASE WHEN c.relreplident = 'f' THEN 'FULL' WHEN x.oid IS NULL THEN 'NOTHING'
               ELSE pg_catalog.format('USING INDEX %I', x.relname) END)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_class b ON b.oid = $2
      LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisreplident
      LEFT JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     WHERE c.oid = $1 AND c.relreplident <> b.relreplident
    UNION ALL
    SELECT 4, l.objsubid, CASE l.objsubid
               WHEN 0 THEN pg_catalog.format('SECURITY LABEL FOR %I ON MATERIALIZED VIEW %s IS %L', l.provider,
                        $2::oid::regclass, l.label)
               ELSE pg_catalog.format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider,
                        $2::oid::regclass, a.attname, l.label) END
      FROM pg_catalog.pg_seclabel l
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid
     WHERE l.classoid = 'pg_catalog.pg_class'::regclass AND l.objoid = $1) s
 ORDER BY s.step, s.n
