-- $1 origin, $2 shadow. The schemas of types (of their elements, of what domains are over) that columns
-- of the shadow have and none of the origin has.
SELECT DISTINCT n.nspname::text AS name
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type p ON p.oid IN (t.oid, t.typelem, t.typbasetype)
  JOIN pg_catalog.pg_namespace n ON n.oid = p.typnamespace
 WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped
   AND a.atttypid NOT IN (SELECT o.atttypid FROM pg_catalog.pg_attribute o
                           WHERE o.attrelid = $1 AND o.attnum > 0 AND NOT o.attisdropped)
   AND n.nspname <> 'pg_catalog'
 ORDER BY name
