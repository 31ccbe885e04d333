-- $1 relation, $2 its copy. What gives the copy's row type the comment and the labels of the original's, and takes off
-- what that has not. The name of the copy's is that which it has now, for a type may have the name of a built-in one.
WITH pair AS (
    SELECT o.reltype AS original, y.oid AS copy, pg_catalog.format('%I.%I', n.nspname, y.typname) AS name
      FROM pg_catalog.pg_class o
      JOIN pg_catalog.pg_class c ON c.oid = $2
      JOIN pg_catalog.pg_type y ON y.oid = c.reltype
      JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
     WHERE o.oid = $1),
labels AS (
    SELECT l.objoid, l.provider, l.label
      FROM pg_catalog.pg_seclabel l
     WHERE l.classoid = 'pg_catalog.pg_type'::regclass
       AND l.objoid IN (SELECT p.original FROM pair p UNION ALL SELECT p.copy FROM pair p))
SELECT pg_catalog.format('COMMENT ON TYPE %s IS %L', p.name,
           pg_catalog.obj_description(p.original, 'pg_type')) AS statement
  FROM pair p
 WHERE pg_catalog.obj_description(p.original, 'pg_type')
       IS DISTINCT FROM pg_catalog.obj_description(p.copy, 'pg_type')
UNION ALL
SELECT pg_catalog.format('SECURITY LABEL FOR %I ON TYPE %s IS %L', s.provider, p.name, o.label)
  FROM pair p
 CROSS JOIN (SELECT DISTINCT l.provider FROM labels l) s
  LEFT JOIN labels o ON o.objoid = p.original AND o.provider = s.provider
  LEFT JOIN labels c ON c.objoid = p.copy AND c.provider = s.provider
 WHERE o.label IS DISTINCT FROM c.label
