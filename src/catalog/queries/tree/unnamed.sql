-- $1 operators. The schemas that must be searched for them to be found without being named.
SELECT n.nspname::text AS name
  FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY u(oid, i)
  JOIN pg_catalog.pg_operator o ON o.oid = u.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
 WHERE n.nspname <> 'pg_catalog'
 GROUP BY n.nspname
 ORDER BY min(u.i)
