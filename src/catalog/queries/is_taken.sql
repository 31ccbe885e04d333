-- Whether something in schema $1 has the name $2 that no other could be given: a relation, a type,
-- extended statistics, a function.
SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = n.oid AND relname = $2)
    OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = n.oid AND typname = $2)
    OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext WHERE stxnamespace = n.oid AND stxname = $2)
    OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = n.oid AND proname = $2)
  FROM pg_catalog.pg_namespace n
 WHERE n.nspname = $1
