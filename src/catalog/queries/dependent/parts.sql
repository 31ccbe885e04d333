-- $1 relation, $2 its views. Triggers, rules and policies of the table and of its views.
SELECT 'trigger' AS kind, g.oid::int8 AS oid, g.tgname::text AS name, g.tgrelid::int8 AS parent,
       pg_catalog.format('%I of %s', g.tgname, g.tgrelid::regclass) AS title,
       g.tgenabled::text AS enabled
  FROM pg_catalog.pg_trigger g
 WHERE (g.tgrelid = $1 OR g.tgrelid = ANY ($2::oid[])) AND NOT g.tgisinternal
   AND g.tgname NOT IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard')
UNION ALL
SELECT 'rule', r.oid::int8, r.rulename::text, r.ev_class::int8,
       pg_catalog.format('%I of %s', r.rulename, r.ev_class::regclass), r.ev_enabled::text
  FROM pg_catalog.pg_rewrite r
 WHERE (r.ev_class = $1 OR r.ev_class = ANY ($2::oid[])) AND r.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', p.oid::int8, p.polname::text, p.polrelid::int8,
       pg_catalog.format('%I of %s', p.polname, p.polrelid::regclass), 'O'
  FROM pg_catalog.pg_policy p
 WHERE p.polrelid = $1
 ORDER BY kind, title
