-- $1 relation. Foreign keys from it and to it.
SELECT k.conname::text AS name, k.conrelid::int8 AS child, k.confrelid::int8 AS parent,
       cn.nspname::text AS child_schema, c.relname::text AS child_name, c.relkind::text AS child_kind,
       pn.nspname::text AS parent_schema, p.relname::text AS parent_name,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n
              ORDER BY x.i) AS columns,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.n
              ORDER BY x.i) AS referenced,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confdelsetcols) WITH ORDINALITY x(n, i)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n
              ORDER BY x.i) AS set_columns,
       k.confmatchtype::text AS match, k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete,
       k.condeferrable AS deferrable, k.condeferred AS deferred, k.convalidated AS validated,
       coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment,
       EXISTS (SELECT FROM pg_catalog.pg_trigger g
                WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O') AS switched_off,
       k.conparentid <> 0 AS inherited
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND (k.conrelid = $1 OR k.confrelid = $1)
 ORDER BY k.oid -- their triggers fire in the order in which the keys were made
