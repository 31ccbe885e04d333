-- $1 table. Functions that use its row type or an array of it: `sure` where the catalogs say so, else their
-- text has the table's name where a type can stand: before [], ARRAY or %ROWTYPE, in a cast, in a
-- declaration, or in a string by itself.
WITH t AS (
    SELECT c.oid, y.oid AS row_type, y.typarray AS array_type,
           '(' || CASE WHEN pg_catalog.quote_ident(c.relname) = c.relname
                       THEN '\m' || e.bare || '\M|' ELSE '' END || '"' || e.quoted || '")' AS name
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_type y ON y.oid = c.reltype
     CROSS JOIN LATERAL (SELECT
           pg_catalog.regexp_replace(c.relname, '([^[:alnum:]_])', '\\\1', 'g') AS bare,
           pg_catalog.regexp_replace(pg_catalog.replace(c.relname, '"', '""'),
               '([^[:alnum:]_])', '\\\1', 'g') AS quoted) e
     WHERE c.oid = $1),
f AS (
    SELECT p.oid, p.prosrc,
           EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                      AND d.refclassid = 'pg_catalog.pg_type'::regclass
                      AND d.refobjid IN (t.row_type, t.array_type)) AS sure
      FROM t, pg_catalog.pg_proc p
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'bluegreen')
       AND n.nspname NOT LIKE 'bluegreen\_%'
       AND l.lanname NOT IN ('internal', 'c')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                        WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid
                          AND e.deptype = 'e'))
SELECT f.oid::regprocedure::text AS name, f.sure
  FROM t, f
 WHERE f.sure
    OR (f.prosrc ~* t.name
        AND (f.prosrc ~* (t.name || '\s*(\[|%\s*rowtype\M|\marray\M)')
             OR f.prosrc ~* ('::\s*([^\s.:]+\s*\.\s*)?' || t.name)
             OR f.prosrc ~* ('\mas\s+([^\s.]+\s*\.\s*)?' || t.name || '\s*\)')
             OR f.prosrc ~* ('''([^''.]+\.)?' || t.name || '''')
             OR f.prosrc ~* ('"([^"''.]+\.)?' || t.name || '"')
             OR EXISTS (SELECT FROM pg_catalog.regexp_matches(f.prosrc,
                            '(\w+|")\s+(?:constant\s+)?(?:[^\s.;,()]+\s*\.\s*)?' || t.name
                                || '\s*(?:;|:=|=|\mdefault\M|\mnot\s+null\M)', 'gi') m (found)
                         WHERE pg_catalog.lower(m.found[1]) <> ALL ('{from,join,update,into,table,only,on,
                               using,lock,truncate,delete,return,by,and,or,as,in,exists,analyze,vacuum,
                               cluster,view,where,set,select,then,else,not}'))))
 ORDER BY f.sure DESC, 1
