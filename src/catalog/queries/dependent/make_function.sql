-- $1 function, $2 schema of the copy. What makes it again; names as search_path shows them. Only the
-- function's own name, which the server always qualifies, is replaced.
SELECT s.statement FROM (
    SELECT 1 AS step, CASE
               WHEN pg_catalog.starts_with(f.definition, f.head)
               THEN pg_catalog.format('CREATE %s %I.%I(', f.word, $2, f.proname)
                    || pg_catalog.substr(f.definition, pg_catalog.length(f.head) + 1)
           END AS statement
      FROM (SELECT p.proname, w.word, pg_catalog.pg_get_functiondef(p.oid) AS definition,
                   pg_catalog.format('CREATE OR REPLACE %s %I.%I(', w.word, n.nspname, p.proname) AS head
              FROM pg_catalog.pg_proc p
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
             CROSS JOIN LATERAL (SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE'
                                        ELSE 'FUNCTION' END AS word) w
             WHERE p.oid = $1) f
    UNION ALL
    SELECT 2, pg_catalog.format('ALTER ROUTINE %I.%I(%s) OWNER TO %I', $2, p.proname,
               pg_catalog.pg_get_function_identity_arguments(p.oid),
               pg_catalog.pg_get_userbyid(p.proowner))
      FROM pg_catalog.pg_proc p WHERE p.oid = $1
    UNION ALL
    SELECT 3, pg_catalog.format('COMMENT ON ROUTINE %I.%I(%s) IS %L', $2, p.proname,
               pg_catalog.pg_get_function_identity_arguments(p.oid), d.description)
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_proc'::regclass AND d.objoid = p.oid AND d.objsubid = 0
     WHERE p.oid = $1
    UNION ALL
    SELECT 4, pg_catalog.format('SECURITY LABEL FOR %I ON ROUTINE %I.%I(%s) IS %L', l.provider, $2,
               p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid), l.label)
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_seclabel l
        ON l.classoid = 'pg_catalog.pg_proc'::regclass AND l.objoid = p.oid
     WHERE p.oid = $1) s
 ORDER BY s.step
