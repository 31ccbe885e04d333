-- $1 relation. Its columns, in order; domains resolved to their base type for the log.
WITH RECURSIVE base AS (
    SELECT a.attnum, a.atttypid AS type, a.atttypmod AS typmod
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, t.typbasetype, t.typtypmod
      FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type
     WHERE t.typtype = 'd')
SELECT a.attnum::int4 AS attnum, a.attname::text AS name,
       a.atttypid::int8 AS type_oid, a.atttypmod AS typmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_sql,
       b.type::int8 AS base_oid, pg_catalog.format_type(b.type, -1) AS base_sql,
       a.attcollation::int8 AS collation,
       CASE WHEN a.attcollation <> 0
            THEN pg_catalog.format('%I.%I', cn.nspname, co.collname) END AS collation_sql,
       a.attnotnull AS not_null, a.atthasdef AS has_default,
       a.attidentity::text AS identity, a.attgenerated::text AS generated,
       CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS "default",
       coalesce(a.attstattarget, -1)::int4 AS statistics,
       coalesce(a.attoptions::text[], '{}') AS options, a.attndims::int4 AS dimensions,
       (SELECT about.description FROM pg_catalog.pg_description about
          WHERE about.classoid = 'pg_catalog.pg_class'::regclass
            AND about.objoid = a.attrelid AND about.objsubid = a.attnum) AS comment
  FROM pg_catalog.pg_attribute a
  JOIN base b ON b.attnum = a.attnum
  JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
