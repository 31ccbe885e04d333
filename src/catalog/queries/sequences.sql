-- $1 relation. Sequences that its columns own, or that their defaults call.
SELECT a.attnum::int4 AS attnum, a.attname::text AS column, s.oid::int8 AS oid,
       n.nspname::text AS schema, s.relname::text AS name, d.deptype::text AS kind,
       q.seqtypid::int8 AS type_oid,
       CASE q.seqtypid WHEN 'pg_catalog.int2'::regtype THEN 32767
            WHEN 'pg_catalog.int4'::regtype THEN 2147483647
            ELSE 9223372036854775807 END = abs(CASE WHEN q.seqincrement > 0 THEN q.seqmax
                                               ELSE q.seqmin + 1 END)
            AS at_type_limit,
       q.seqincrement > 0 AS ascending,
       ARRAY['AS ' || pg_catalog.format_type(q.seqtypid, NULL), 'INCREMENT BY ' || q.seqincrement,
             'MINVALUE ' || q.seqmin, 'MAXVALUE ' || q.seqmax, 'CACHE ' || q.seqcache,
             CASE WHEN q.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END] AS options
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
  JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE d.classid = 'pg_catalog.pg_class'::regclass
   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1
   AND d.deptype IN ('a', 'i')
 ORDER BY a.attnum, s.oid
