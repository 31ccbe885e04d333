-- $1 relation. Its extended statistics.
SELECT s.stxname::text AS name, n.nspname::text AS schema,
       pg_catalog.pg_get_statisticsobjdef(s.oid) AS definition,
       coalesce(s.stxstattarget, -1)::int4 AS target,
       pg_catalog.pg_get_userbyid(s.stxowner)::text AS owner,
       pg_catalog.obj_description(s.oid, 'pg_statistic_ext') AS comment
  FROM pg_catalog.pg_statistic_ext s
  JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
 WHERE s.stxrelid = $1
 ORDER BY s.oid
