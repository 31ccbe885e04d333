-- $1 relation. What a table is, for the checks.
SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
       c.relnamespace::int8 AS schema_oid, c.relkind::text AS kind,
       c.relpersistence::text AS persistence, c.relowner::int8 AS owner,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner_name,
       c.relispartition AS is_partition, c.reloftype <> 0 AS is_typed,
       c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security,
       c.relreplident::text AS replica_identity,
       c.relfilenode::int8 AS relfilenode,
       greatest(c.reltuples, 0)::int8 AS row_estimate,
       ((n.nspname LIKE 'pg\_%' AND c.relpersistence <> 't') OR n.nspname IN ('information_schema', 'bluegreen')) AS is_system,
       am.amname::text AS access_method, ts.spcname::text AS tablespace,
       coalesce(c.reloptions::text[], '{}') AS options,
       coalesce(t.reloptions::text[], '{}') AS toast_options,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
  LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
 WHERE c.oid = $1
