-- $1 schema and $2 name of a change log, $3 types of its key: `columns` where its columns are not those
-- that it was made with, `more` where it has something that changes what a statement on it does, or once
-- had it, else `intact`.
SELECT CASE
           WHEN c.relkind <> 'r' OR c.relam <> 2
             OR (SELECT pg_catalog.array_agg(a.atttypid::int8 ORDER BY a.attnum)
                   FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
                IS DISTINCT FROM ARRAY[20, 23, 18]::int8[] || $3 || $3 THEN 'columns'
           WHEN c.relhasindex OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity
             OR c.relhassubclass OR c.relchecks > 0 THEN 'more'
           ELSE 'intact' END
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2
