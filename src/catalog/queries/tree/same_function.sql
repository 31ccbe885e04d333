-- $1 function, $2 another. Whether the other is the first one for another type: of the same name, and
-- built in, of the same schema, or of that of one of its types.
SELECT a.proname = b.proname AND (b.pronamespace IN (a.pronamespace, 'pg_catalog'::regnamespace)
       OR EXISTS (SELECT FROM pg_catalog.pg_type t
                   WHERE t.oid = ANY (b.proargtypes::oid[]) AND t.typnamespace = b.pronamespace))
  FROM pg_catalog.pg_proc a, pg_catalog.pg_proc b
 WHERE a.oid = $1 AND b.oid = $2
