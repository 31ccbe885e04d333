-- $1 operator, $2 another. Whether the other is the first one for another type: of the same name, and
-- built in, of the same schema, or of that of one of its types.
SELECT a.oprname = b.oprname AND (b.oprnamespace IN (a.oprnamespace, 'pg_catalog'::regnamespace)
       OR EXISTS (SELECT FROM pg_catalog.pg_type t
                   WHERE t.oid IN (b.oprleft, b.oprright) AND t.typnamespace = b.oprnamespace))
  FROM pg_catalog.pg_operator a, pg_catalog.pg_operator b
 WHERE a.oid = $1 AND b.oid = $2
