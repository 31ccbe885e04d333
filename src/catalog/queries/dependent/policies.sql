-- $1 relation, $2 its views, which have none. Its row security policies.
SELECT p.oid::int8 AS oid, p.polname::text AS name, p.polrelid::int8 AS parent,
       pg_catalog.format('%I of %s', p.polname, p.polrelid::regclass) AS title, 'O' AS enabled
  FROM pg_catalog.pg_policy p
 WHERE p.polrelid = $1 OR p.polrelid = ANY ($2::oid[])
 ORDER BY title
