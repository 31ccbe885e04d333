-- $1 relation, $2 it and its views and functions. What the parts of its fingerprint are without the names of
-- other objects: OIDs and stored trees. Of parts that a swap makes again from their text there is none.
-- A catalog's whole row stands for all of its columns, where none is a schema: tables change it in a swap.
WITH rights AS NOT MATERIALIZED (
    SELECT c.oid, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', x.grantor, x.grantee,
                              x.privilege_type, x.is_grantable), ',' ORDER BY x.grantor, x.grantee, x.privilege_type)
                     FROM pg_catalog.aclexplode(coalesce(c.relacl,
                              pg_catalog.acldefault('r', c.relowner))) x) AS granted
      FROM pg_catalog.pg_class c WHERE c.oid = $1 OR c.oid = ANY ($2::oid[])
), row_types AS NOT MATERIALIZED (
    SELECT c.oid, x.granted,
           nullif(pg_catalog.concat_ws(' ', x.granted, (SELECT about.description FROM pg_catalog.pg_description about
                 WHERE about.classoid = 'pg_catalog.pg_type'::regclass
                   AND about.objoid = y.oid AND about.objsubid = 0),
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', l.provider, l.label), ',' ORDER BY l.provider)
                  FROM pg_catalog.pg_seclabel l
                 WHERE l.classoid = 'pg_catalog.pg_type'::regclass AND l.objoid = y.oid)), '') AS said
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_type y ON y.oid = c.reltype
     CROSS JOIN LATERAL (
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', e.grantor, e.grantee, e.privilege_type,
                   e.is_grantable), ',' ORDER BY e.grantor, e.grantee, e.privilege_type) AS granted
          FROM pg_catalog.aclexplode(y.typacl) e) x
     WHERE c.oid = $1 OR c.oid = ANY ($2::oid[])
), defaults AS NOT MATERIALIZED (
    SELECT a.attrelid, a.attnum, a.attname,
           pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull,
               a.attidentity, a.attgenerated, d.adbin) AS value
      FROM pg_catalog.pg_attribute a
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE (a.attrelid = $1 OR a.attrelid = ANY ($2::oid[])) AND a.attnum > 0 AND NOT a.attisdropped
), indexes AS NOT MATERIALIZED (
    SELECT i.indrelid, i.indexrelid, c.relname,
           pg_catalog.concat_ws(' ', i.indkey, i.indclass, i.indcollation, i.indoption, i.indisunique,
               i.indnullsnotdistinct, i.indisexclusion, i.indimmediate, i.indisvalid, i.indisclustered,
               i.indisreplident, i.indexprs, i.indpred, c.reloptions, c.reltablespace, c.relam,
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attoptions), ',' ORDER BY a.attnum)
                  FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attoptions IS NOT NULL),
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_class'::regclass
                    AND about.objoid = c.oid AND about.objsubid = 0)) AS value
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1 OR i.indrelid = ANY ($2::oid[])
), triggers AS NOT MATERIALIZED (
    SELECT g.tgrelid, g.tgname, pg_catalog.concat_ws(' ', g::text,
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_trigger'::regclass
                    AND about.objoid = g.oid AND about.objsubid = 0)) AS value
      FROM pg_catalog.pg_trigger g
     WHERE (g.tgrelid = $1 OR g.tgrelid = ANY ($2::oid[])) AND NOT g.tgisinternal
), rules AS NOT MATERIALIZED (
    SELECT r.ev_class, r.rulename, pg_catalog.concat_ws(' ', r::text,
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_rewrite'::regclass
                    AND about.objoid = r.oid AND about.objsubid = 0)) AS value
      FROM pg_catalog.pg_rewrite r WHERE r.ev_class <> $1 AND r.ev_class = ANY ($2::oid[])
)
-- The place in the statement that wrote an expression is no part of what it is.
SELECT coalesce(pg_catalog.jsonb_object_agg(p.part, pg_catalog.encode(pg_catalog.sha256(
           pg_catalog.convert_to(pg_catalog.regexp_replace(p.value, ':(stmt_)?(location|len) -?[0-9]+', '', 'g'),
               'UTF8')), 'hex')), '{}')::text
  FROM (
    SELECT 'owner' AS part, c.relowner::text AS value FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'grants', r.granted FROM rights r WHERE r.oid = $1
    UNION ALL
    SELECT 'grants of its row type', y.granted FROM row_types y WHERE y.oid = $1 AND y.granted IS NOT NULL
    UNION ALL
    SELECT 'column ' || d.attname, d.value FROM defaults d WHERE d.attrelid = $1
    UNION ALL
    SELECT 'constraint ' || k.conname,
           pg_catalog.concat_ws(' ', k.contype, k.condeferrable, k.condeferred, k.convalidated,
               k.conkey, k.conexclop, k.connoinherit, k.conbin, (SELECT about.description FROM pg_catalog.pg_description about
                     WHERE about.classoid = 'pg_catalog.pg_constraint'::regclass
                       AND about.objoid = k.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND k.contype <> 'f'
    UNION ALL
    SELECT 'index ' || i.relname, i.value FROM indexes i WHERE i.indrelid = $1
    UNION ALL
    SELECT 'trigger ' || g.tgname, g.value FROM triggers g WHERE g.tgrelid = $1
    UNION ALL
    SELECT 'policy ' || y.polname, pg_catalog.concat_ws(' ', y::text, (SELECT about.description FROM pg_catalog.pg_description about
          WHERE about.classoid = 'pg_catalog.pg_policy'::regclass
            AND about.objoid = y.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_policy y WHERE y.polrelid = $1
    UNION ALL
    SELECT 'statistics ' || s.stxname,
           pg_catalog.concat_ws(' ', s.stxowner, s.stxstattarget, s.stxkeys, s.stxkind, s.stxexprs,
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_statistic_ext'::regclass
                    AND about.objoid = s.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = $1
    UNION ALL
    SELECT CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END
               || pg_catalog.format('%I.%I', n.nspname, c.relname),
           pg_catalog.concat_ws(' ', c.relowner, r.granted, c.reloptions, c.reltablespace, c.relispopulated,
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', d.attname, d.value, a.attacl,
                           a.attstattarget, a.attstorage, a.attcompression, a.attoptions), ',' ORDER BY d.attnum)
                  FROM defaults d
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.attrelid AND a.attnum = d.attnum
                 WHERE d.attrelid = c.oid),
               (SELECT pg_catalog.string_agg(x.objsubid || x.description, ',' ORDER BY x.objsubid)
                  FROM pg_catalog.pg_description x
                 WHERE x.classoid = 'pg_catalog.pg_class'::regclass AND x.objoid = c.oid),
               (SELECT pg_catalog.string_agg(i.value, ',' ORDER BY i.indexrelid) FROM indexes i
                 WHERE i.indrelid = c.oid),
               (SELECT pg_catalog.string_agg(g.value, ',' ORDER BY g.tgname) FROM triggers g
                 WHERE g.tgrelid = c.oid),
               (SELECT pg_catalog.string_agg(u.value, ',' ORDER BY u.rulename) FROM rules u
                 WHERE u.ev_class = c.oid),
               (SELECT y.said FROM row_types y WHERE y.oid = c.oid))
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN rights r ON r.oid = c.oid
     WHERE c.oid = ANY ($2::oid[]) AND c.oid <> $1
  ) p
