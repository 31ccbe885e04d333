-- $1 schema. The extended statistics in it.
SELECT s.stxname::text AS name, n.nspname::text AS schema,
       coalesce(s.stxstattarget, -1)::int4 AS target,
       pg_catalog.pg_get_userbyid(s.stxowner)::text AS owner
  FROM pg_catalog.pg_statistic_ext s
  JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
 WHERE n.nspname = $1
 ORDER BY s.oid
