-- $1 view, $2 schema of the copy. What makes it again; names as search_path shows them.
SELECT s.statement FROM (
    SELECT 1 AS step, 0 AS n, pg_catalog.format('CREATE VIEW %I.%I%s AS %s', $2, c.relname,
               (SELECT pg_catalog.format(' WITH (%s)', pg_catalog.string_agg(
                           pg_catalog.format('%I=%L', pg_catalog.split_part(o, '=', 1),
                               pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1)), ', '))
                  FROM pg_catalog.unnest(c.reloptions) o HAVING count(*) > 0),
               pg_catalog.pg_get_viewdef(c.oid)) AS statement
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 2, 0, pg_catalog.format('ALTER VIEW %I.%I OWNER TO %I', $2, c.relname,
               pg_catalog.pg_get_userbyid(c.relowner))
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 3, a.attnum, pg_catalog.format('ALTER VIEW %I.%I ALTER COLUMN %I SET DEFAULT %s', $2,
               c.relname, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid))
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
      JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE c.oid = $1
    UNION ALL
    SELECT 4, x.objsubid, CASE x.objsubid
               WHEN 0 THEN pg_catalog.format('COMMENT ON VIEW %I.%I IS %L', $2, c.relname, x.description)
               ELSE pg_catalog.format('COMMENT ON COLUMN %I.%I.%I IS %L', $2, c.relname, a.attname,
                        x.description) END
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_description x
        ON x.classoid = 'pg_catalog.pg_class'::regclass AND x.objoid = c.oid
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.objsubid
     WHERE c.oid = $1
    UNION ALL
    SELECT 5, l.objsubid, CASE l.objsubid
               WHEN 0 THEN pg_catalog.format('SECURITY LABEL FOR %I ON VIEW %I.%I IS %L', l.provider,
                        $2, c.relname, l.label)
               ELSE pg_catalog.format('SECURITY LABEL FOR %I ON COLUMN %I.%I.%I IS %L', l.provider, $2,
                        c.relname, a.attname, l.label) END
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_seclabel l
        ON l.classoid = 'pg_catalog.pg_class'::regclass AND l.objoid = c.oid
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = l.objsubid
     WHERE c.oid = $1) s
 ORDER BY s.step, s.n
