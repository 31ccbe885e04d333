-- $1 OIDs. Triggers that have one of them as an argument.
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_trigger'::regclass, g.oid, 0) AS what,
       a.argument::int8 AS oid
  FROM pg_catalog.pg_trigger g
 CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.string_to_array(
           pg_catalog.encode(g.tgargs, 'escape'), '\000')) a (argument)
 WHERE NOT g.tgisinternal AND a.argument = ANY ($1::int8[]::text[])
 ORDER BY 1, 2
