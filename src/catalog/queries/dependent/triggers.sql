-- $1 relation, $2 its views. Their triggers.
SELECT g.oid::int8 AS oid, g.tgname::text AS name, g.tgrelid::int8 AS parent,
       pg_catalog.format('%I of %s', g.tgname, g.tgrelid::regclass) AS title,
       g.tgenabled::text AS enabled
  FROM pg_catalog.pg_trigger g
 WHERE (g.tgrelid = $1 OR g.tgrelid = ANY ($2::oid[])) AND NOT g.tgisinternal
   AND g.tgname NOT IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard')
 ORDER BY title
