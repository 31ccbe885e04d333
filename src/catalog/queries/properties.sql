-- $1 catalog, $2 OID of an object. All properties that its catalog rows have, and those of its columns, row type,
-- indexes, constraints and statistics objects, part by part. Whole rows, so that a property that a later
-- server adds is there too; without OIDs, places and counts, which a copy has of its own, without the
-- rights on a table, which it has when it is live, and without expressions (see `dependent`).
WITH object AS (
    SELECT $1::regclass::oid AS class, $2::oid AS oid),
own AS (
    -- What no two relations have in common.
    SELECT '{oid,relnamespace,reltype,relfilenode,relpages,reltuples,relallvisible,relallfrozen,reltoastrelid,
             relhasindex,relnatts,relchecks,relhasrules,relhastriggers,relhassubclass,relispopulated,
             relfrozenxid,relminmxid,relacl,relrewrite,reloptions,relreplident}'::text[] AS relation,
           '{attrelid,attnum,attcacheoff,attacl,atthasmissing,attmissingval,attoptions,attislocal,attinhcount}'::text[] AS attribute),
said AS (
    SELECT o.class, o.oid, s.sub, s.comment, s.labels
      FROM object o CROSS JOIN LATERAL (
        SELECT x.objsubid AS sub, x.description AS comment, NULL::jsonb AS labels
          FROM pg_catalog.pg_description x WHERE x.classoid = o.class AND x.objoid = o.oid
        UNION ALL
        SELECT l.objsubid, NULL, pg_catalog.jsonb_object_agg(l.provider, l.label)
          FROM pg_catalog.pg_seclabel l WHERE l.classoid = o.class AND l.objoid = o.oid
         GROUP BY l.objsubid) s),
relation AS (
    SELECT c.*, (SELECT pg_catalog.jsonb_agg(o.o ORDER BY o.o) FROM pg_catalog.unnest(c.reloptions) o(o)) AS options
      FROM object o JOIN pg_catalog.pg_class c ON c.oid = o.oid
     WHERE o.class = 'pg_catalog.pg_class'::regclass),
names AS (
    SELECT a.attrelid, a.attnum, a.attname
      FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0)
SELECT coalesce(pg_catalog.jsonb_object_agg(p.part, p.properties), '{}')::text
  FROM (
    SELECT 'itself' AS part, pg_catalog.to_jsonb(c) - own.relation - 'options' || pg_catalog.jsonb_build_object(
               'reloptions', c.options,
               -- Without its index it is none.
               'relreplident', CASE WHEN c.relreplident <> 'i' OR EXISTS (
                   SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
                   THEN c.relreplident ELSE 'n' END,
               'rights of a view', CASE WHEN c.relkind <> 'r' THEN (
                   SELECT pg_catalog.jsonb_agg(i.i::text ORDER BY i.i::text)
                     FROM pg_catalog.unnest(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) i(i)) END)
               AS properties
      FROM relation c, own
    UNION ALL
    SELECT 'comment', pg_catalog.jsonb_build_object('text', s.comment) FROM said s
     WHERE s.sub = 0 AND s.comment IS NOT NULL
    UNION ALL
    SELECT 'security label', s.labels FROM said s WHERE s.sub = 0 AND s.labels IS NOT NULL
    UNION ALL
    SELECT 'row type', pg_catalog.jsonb_build_object(
               'rights', (SELECT pg_catalog.jsonb_agg(i.i::text ORDER BY i.i::text) FROM pg_catalog.unnest(
                              coalesce(y.typacl, pg_catalog.acldefault('T', y.typowner))) i(i)),
               'comment', pg_catalog.obj_description(y.oid, 'pg_type'),
               'security label', (SELECT pg_catalog.jsonb_object_agg(l.provider, l.label)
                                    FROM pg_catalog.pg_seclabel l
                                   WHERE l.classoid = 'pg_catalog.pg_type'::regclass AND l.objoid = y.oid))
      FROM relation c JOIN pg_catalog.pg_type y ON y.oid = c.reltype
    UNION ALL
    SELECT 'TOAST table', pg_catalog.jsonb_build_object('reloptions',
               (SELECT pg_catalog.jsonb_agg(o.o ORDER BY o.o) FROM pg_catalog.unnest(t.reloptions) o(o)))
      FROM relation c JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
     WHERE t.reloptions IS NOT NULL
    UNION ALL
    SELECT 'column ' || a.attname, pg_catalog.to_jsonb(a) - own.attribute || pg_catalog.jsonb_build_object(
               'attoptions', (SELECT pg_catalog.jsonb_agg(o.o ORDER BY o.o)
                                FROM pg_catalog.unnest(a.attoptions) o(o)
                               WHERE o.o NOT LIKE 'pg\_attver=%'),
               'rights of a view', CASE WHEN c.relkind <> 'r' THEN (
                   SELECT pg_catalog.jsonb_agg(i.i::text ORDER BY i.i::text)
                     FROM pg_catalog.unnest(a.attacl) i(i)) END,
               'comment', (SELECT s.comment FROM said s WHERE s.sub = a.attnum AND s.comment IS NOT NULL),
               'security label', (SELECT s.labels FROM said s WHERE s.sub = a.attnum AND s.labels IS NOT NULL))
      FROM own, relation c
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'index ' || x.relname, pg_catalog.to_jsonb(x) - own.relation || (pg_catalog.to_jsonb(i)
               - '{indexrelid,indrelid,indkey,indcheckxmin,indexprs,indpred}'::text[])
               || pg_catalog.jsonb_build_object(
               'reloptions', (SELECT pg_catalog.jsonb_agg(o.o ORDER BY o.o)
                                FROM pg_catalog.unnest(x.reloptions) o(o)),
               'columns', (SELECT pg_catalog.jsonb_agg(n.attname ORDER BY k.n)
                             FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
                             LEFT JOIN names n ON n.attnum = k.attnum),
               'statistics', (SELECT pg_catalog.jsonb_object_agg(a.attnum, a.attstattarget)
                                FROM pg_catalog.pg_attribute a
                               WHERE a.attrelid = x.oid AND a.attstattarget >= 0),
               'comment', pg_catalog.obj_description(x.oid, 'pg_class'))
      FROM own, relation c
      JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    UNION ALL
    SELECT 'constraint ' || k.conname, pg_catalog.to_jsonb(k) - '{oid,connamespace,conrelid,contypid,conindid,
               conparentid,confrelid,conkey,confkey,conbin,conislocal,coninhcount,connoinherit}'::text[] || pg_catalog.jsonb_build_object(
               -- Of a key it says whether it was once a partition's.
               'connoinherit', CASE k.contype WHEN 'c' THEN k.connoinherit END,
               'columns', (SELECT pg_catalog.jsonb_agg(n.attname ORDER BY n.attname) FROM names n
                            WHERE n.attnum = ANY (k.conkey)),
               'comment', pg_catalog.obj_description(k.oid, 'pg_constraint'))
      FROM relation c
      JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('c', 'p', 'u', 'x')
    UNION ALL
    SELECT 'statistics ' || s.stxname, pg_catalog.to_jsonb(s) - '{oid,stxrelid,stxnamespace,stxkeys,stxexprs}'::text[]
               || pg_catalog.jsonb_build_object(
               'columns', (SELECT pg_catalog.jsonb_agg(n.attname ORDER BY n.attname) FROM names n
                            WHERE n.attnum = ANY (s.stxkeys::int2[])),
               'comment', pg_catalog.obj_description(s.oid, 'pg_statistic_ext'))
      FROM relation c JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = c.oid
    UNION ALL
    SELECT 'itself', pg_catalog.to_jsonb(f) - '{oid,pronamespace,provariadic,prosupport,prorettype,proargtypes,
               proallargtypes,proargdefaults,prosqlbody,proacl}'::text[] || pg_catalog.jsonb_build_object(
               'prosupport', f.prosupport::oid::text,
               'rights', (SELECT pg_catalog.jsonb_agg(i.i::text ORDER BY i.i::text) FROM pg_catalog.unnest(
                              coalesce(f.proacl, pg_catalog.acldefault('f', f.proowner))) i(i)))
      FROM object o JOIN pg_catalog.pg_proc f ON f.oid = o.oid
     WHERE o.class = 'pg_catalog.pg_proc'::regclass
    UNION ALL
    SELECT 'itself', pg_catalog.to_jsonb(g) - '{oid,tgrelid,tgparentid,tgfoid,tgconstrrelid,tgconstrindid,
               tgconstraint,tgattr,tgqual,tgenabled}'::text[] || pg_catalog.jsonb_build_object(
               -- One of a table is switched on when its table goes live.
               'tgenabled', CASE WHEN c.relkind <> 'r' THEN g.tgenabled END,
               'comment of its constraint', pg_catalog.obj_description(g.tgconstraint, 'pg_constraint'))
      FROM object o
      JOIN pg_catalog.pg_trigger g ON g.oid = o.oid
      JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
     WHERE o.class = 'pg_catalog.pg_trigger'::regclass
    UNION ALL
    SELECT 'itself', pg_catalog.to_jsonb(p) - '{oid,polrelid,polqual,polwithcheck}'::text[]
      FROM object o JOIN pg_catalog.pg_policy p ON p.oid = o.oid
     WHERE o.class = 'pg_catalog.pg_policy'::regclass
    UNION ALL
    SELECT 'itself', pg_catalog.to_jsonb(r) - '{oid,ev_class,ev_qual,ev_action}'::text[]
      FROM object o JOIN pg_catalog.pg_rewrite r ON r.oid = o.oid
     WHERE o.class = 'pg_catalog.pg_rewrite'::regclass) p
