-- $1 trigger. What makes it again; names as search_path shows them. A trigger of a table is made
-- disabled, one of a view as it is.
SELECT s.statement FROM (
    SELECT 1 AS step, pg_catalog.pg_get_triggerdef(g.oid, true) AS statement
      FROM pg_catalog.pg_trigger g WHERE g.oid = $1
    UNION ALL
    SELECT 2, pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', g.tgname, g.tgrelid::regclass,
               d.description)
      FROM pg_catalog.pg_trigger g
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_trigger'::regclass AND d.objoid = g.oid AND d.objsubid = 0
     WHERE g.oid = $1
    UNION ALL
    -- The constraint of a constraint trigger is made with the trigger's name.
    SELECT 3, pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', g.tgname, g.tgrelid::regclass,
               d.description)
      FROM pg_catalog.pg_trigger g
      JOIN pg_catalog.pg_description d
        ON d.classoid = 'pg_catalog.pg_constraint'::regclass AND d.objoid = g.tgconstraint AND d.objsubid = 0
     WHERE g.oid = $1
    UNION ALL
    SELECT 4, pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', g.tgrelid::regclass,
               CASE WHEN c.relkind = 'r' OR g.tgenabled = 'D' THEN 'DISABLE'
                    WHEN g.tgenabled = 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, g.tgname)
      FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
     WHERE g.oid = $1 AND (c.relkind = 'r' OR g.tgenabled <> 'O')) s
 ORDER BY s.step
