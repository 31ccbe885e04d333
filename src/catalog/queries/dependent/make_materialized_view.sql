-- $1 materialized view, $2 schema of the copy. What makes it again, empty, with its indexes; names as
-- search_path shows them.
SELECT s.statement FROM (
    SELECT 1 AS step, 0::bigint AS n, pg_catalog.format(
               'CREATE MATERIALIZED VIEW %I.%I USING %I%s%s AS %s WITH NO DATA', $2, c.relname, m.amname,
               (SELECT pg_catalog.format(' WITH (%s)', pg_catalog.string_agg(
                           pg_catalog.format('%s=%L', pg_catalog.split_part(o, '=', 1),
                               pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1)), ', '))
                  FROM (SELECT o FROM pg_catalog.unnest(c.reloptions) o
                        UNION ALL
                        SELECT 'toast.' || o FROM pg_catalog.unnest(t.reloptions) o) x(o)
                HAVING count(*) > 0),
               (SELECT pg_catalog.format(' TABLESPACE %I', s.spcname)
                  FROM pg_catalog.pg_tablespace s WHERE s.oid = c.reltablespace),
               pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';')) AS statement
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_am m ON m.oid = c.relam
      LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
     WHERE c.oid = $1
    UNION ALL
    SELECT 2, 0, pg_catalog.format('ALTER MATERIALIZED VIEW %I.%I OWNER TO %I', $2, c.relname,
               pg_catalog.pg_get_userbyid(c.relowner))
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 3, a.attnum, pg_catalog.format(
               'ALTER MATERIALIZED VIEW %I.%I ALTER COLUMN %I SET STATISTICS %s', $2, c.relname,
               a.attname, a.attstattarget)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
     WHERE c.oid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0
    UNION ALL
    SELECT 4, i.indexrelid::int8, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true)
      FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisvalid
    UNION ALL
    SELECT 5, i.indexrelid::int8, pg_catalog.format('ALTER INDEX %I.%I SET TABLESPACE %I', $2,
               x.relname, s.spcname)
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      JOIN pg_catalog.pg_tablespace s ON s.oid = x.reltablespace
     WHERE i.indrelid = $1
    UNION ALL
    SELECT 6, i.indexrelid::int8, pg_catalog.format('ALTER MATERIALIZED VIEW %I.%I CLUSTER ON %I', $2,
               c.relname, x.relname)
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
     WHERE i.indrelid = $1 AND i.indisclustered
    UNION ALL
    SELECT 7, x.objsubid, CASE x.objsubid
               WHEN 0 THEN pg_catalog.format('COMMENT ON MATERIALIZED VIEW %I.%I IS %L', $2, c.relname,
                        x.description)
               ELSE pg_catalog.format('COMMENT ON COLUMN %I.%I.%I IS %L', $2, c.relname, a.attname,
                        x.description) END
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_description x
        ON x.classoid = 'pg_catalog.pg_class'::regclass AND x.objoid = c.oid
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.objsubid
     WHERE c.oid = $1
    UNION ALL
    SELECT 8, i.indexrelid::int8, pg_catalog.format('COMMENT ON INDEX %I.%I IS %L', $2, x.relname,
               d.description)
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = x.oid AND d.objsubid = 0
     WHERE i.indrelid = $1) s
 ORDER BY s.step, s.n
