-- $1 relation. Foreign keys from it and to it that are enforced, those of each partition by itself, with the operators
-- that compare a referenced column with the referencing one.
SELECT k.conname::text AS name, k.conrelid::int8 AS child, k.confrelid::int8 AS parent,
       cn.nspname::text AS child_schema, c.relname::text AS child_name, c.relowner::int8 AS child_owner,
       pn.nspname::text AS parent_schema, p.relname::text AS parent_name, p.relowner::int8 AS parent_owner,
       p.relkind = 'p' AS parent_is_partitioned, k.confdeltype::text AS on_delete,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n
              ORDER BY x.i) AS columns,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.n
              ORDER BY x.i) AS referenced,
       ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', s.nspname, o.oprname)
               FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY x(oid, i)
               JOIN pg_catalog.pg_operator o ON o.oid = x.oid
               JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
              ORDER BY x.i) AS equals,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confdelsetcols) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n
              ORDER BY x.i) AS set_columns
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND c.relkind = 'r' AND (k.conrelid = $1 OR k.confrelid = $1)
   AND coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean, true)
 ORDER BY k.oid
