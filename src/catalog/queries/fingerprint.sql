-- $1 relation. Its definition, part by part, so that a difference can be named. Comments come from pg_description
-- itself: obj_description() is an SQL function, which is planned anew in each run, also under the locks of a swap.
SELECT coalesce(pg_catalog.jsonb_object_agg(p.part, p.value), '{}')::text
  FROM (
    SELECT 'table' AS part, pg_catalog.concat_ws(' ', n.nspname, c.relname, c.relkind,
               c.relpersistence, c.relispartition, c.reltablespace, c.relam) AS value
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = $1
    UNION ALL
    SELECT 'replica identity', c.relreplident::text FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'row level security', pg_catalog.concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity)
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'owner', pg_catalog.pg_get_userbyid(c.relowner)::text
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'grants', coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))::text FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'storage parameters', coalesce(c.reloptions::text, '')
           || coalesce((SELECT t.reloptions::text FROM pg_catalog.pg_class t
                         WHERE t.oid = c.reltoastrelid), '')
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT 'column ' || a.attname,
           pg_catalog.concat_ws(' ', a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
               a.attcollation, a.attnotnull, a.attidentity, a.attgenerated,
               pg_catalog.pg_get_expr(d.adbin, d.adrelid))
      FROM pg_catalog.pg_attribute a
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'settings of column ' || a.attname, pg_catalog.concat_ws(' ', a.attstorage, a.attcompression,
               a.attstattarget, (SELECT pg_catalog.string_agg(o, ' ') FROM pg_catalog.unnest(a.attoptions) o
                                  WHERE o LIKE 'n\_distinct%'))
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'grants of column ' || a.attname, a.attacl::text
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'file', c.relfilenode::text FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    -- ALTER TYPE makes a column's default anew. VACUUM FULL does not, but it writes the catalog row of
    -- a column whose default stood there for old rows.
    SELECT 'rewritten column ' || a.attname,
           CASE WHEN d.oid IS NOT NULL THEN 'default ' || d.oid
                WHEN a.atthasmissing THEN 'missing' ELSE a.xmin::text END
      FROM pg_catalog.pg_attribute a
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint ' || k.conname,
           CASE k.contype
               WHEN 'f' THEN pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID', '')
               ELSE pg_catalog.pg_get_constraintdef(k.oid) || ' ' || k.convalidated END
           || coalesce((SELECT about.description FROM pg_catalog.pg_description about
                 WHERE about.classoid = 'pg_catalog.pg_constraint'::regclass
                   AND about.objoid = k.oid AND about.objsubid = 0), '')
           || coalesce((SELECT ' ' || pg_catalog.string_agg(DISTINCT g.tgenabled::text, ' ')
                          FROM pg_catalog.pg_trigger g
                         WHERE g.tgconstraint = k.oid AND k.contype = 'f'), '')
      FROM pg_catalog.pg_constraint k
     WHERE k.conrelid = $1 AND (k.contype <> 'f' OR k.conparentid = 0)
    UNION ALL
    SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::regclass::text,
           pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID', '')
           || coalesce((SELECT about.description FROM pg_catalog.pg_description about
                 WHERE about.classoid = 'pg_catalog.pg_constraint'::regclass
                   AND about.objoid = k.oid AND about.objsubid = 0), '')
           || coalesce((SELECT ' ' || pg_catalog.string_agg(DISTINCT g.tgenabled::text, ' ')
                          FROM pg_catalog.pg_trigger g WHERE g.tgconstraint = k.oid), '')
      FROM pg_catalog.pg_constraint k
     WHERE k.confrelid = $1 AND k.contype = 'f' AND k.conrelid <> $1
    UNION ALL
    SELECT 'index ' || c.relname, pg_catalog.pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid
           || ' ' || i.indisclustered || ' ' || i.indisreplident || ' ' || c.reltablespace
           || coalesce((SELECT about.description FROM pg_catalog.pg_description about
                 WHERE about.classoid = 'pg_catalog.pg_class'::regclass
                   AND about.objoid = c.oid AND about.objsubid = 0), '')
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1
    UNION ALL
    SELECT CASE WHEN g.tgname IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard')
                THEN 'capture trigger ' ELSE 'trigger ' END || g.tgname,
           CASE WHEN g.tgname IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard')
                THEN pg_catalog.concat_ws(' ', g.oid, g.xmin, g.tgenabled, g.tgtype, g.tgfoid)
                ELSE pg_catalog.concat_ws(' ', g.tgenabled, pg_catalog.pg_get_triggerdef(g.oid),
                    (SELECT about.description FROM pg_catalog.pg_description about
                       WHERE about.classoid = 'pg_catalog.pg_trigger'::regclass
                         AND about.objoid = g.oid AND about.objsubid = 0)) END
      FROM pg_catalog.pg_trigger g WHERE g.tgrelid = $1 AND NOT g.tgisinternal
    UNION ALL
    SELECT 'policy ' || p.polname,
           pg_catalog.concat_ws(' ', p.polcmd, p.polpermissive, p.polroles,
               pg_catalog.pg_get_expr(p.polqual, p.polrelid),
               pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_policy'::regclass
                    AND about.objoid = p.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_policy p WHERE p.polrelid = $1
    UNION ALL
    SELECT 'rule ' || r.rulename, pg_catalog.concat_ws(' ', r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid),
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_rewrite'::regclass
                    AND about.objoid = r.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_rewrite r WHERE r.ev_class = $1
    UNION ALL
    SELECT DISTINCT 'use of its row type by '
           || pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ''
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_type y ON y.oid = c.reltype
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_type'::regclass
       AND d.refobjid IN (y.oid, y.typarray)
     WHERE c.oid = $1 AND d.classid NOT IN ('pg_catalog.pg_proc'::regclass,
           'pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass)
       AND NOT (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (
           SELECT v.oid FROM pg_catalog.pg_class v WHERE v.relkind IN ('v', 'm')))
       AND NOT (d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = y.typarray)
    UNION ALL
    SELECT 'statistics ' || s.stxname, pg_catalog.pg_get_statisticsobjdef(s.oid) || ' '
           || coalesce(s.stxstattarget, -1) || s.stxowner
           || coalesce((SELECT about.description FROM pg_catalog.pg_description about
                 WHERE about.classoid = 'pg_catalog.pg_statistic_ext'::regclass
                   AND about.objoid = s.oid AND about.objsubid = 0), '')
      FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = $1
    UNION ALL
    SELECT 'publication ' || p.pubname, pg_catalog.concat_ws(' ', r.prattrs,
               pg_catalog.pg_get_expr(r.prqual, r.prrelid))
      FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
     WHERE r.prrelid = $1
    UNION ALL
    SELECT 'publication of all tables ' || p.pubname, ''
      FROM pg_catalog.pg_publication p WHERE p.puballtables
    UNION ALL
    SELECT 'publication of the schema ' || p.pubname, ''
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_publication_namespace n ON n.pnnspid = c.relnamespace
      JOIN pg_catalog.pg_publication p ON p.oid = n.pnpubid
     WHERE c.oid = $1
    UNION ALL
    SELECT 'inheritance ' || h.inhrelid::regclass::text, h.inhparent::regclass::text
      FROM pg_catalog.pg_inherits h
      JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid AND c.relkind NOT IN ('i', 'I')
     WHERE h.inhparent = $1 OR h.inhrelid = $1
    UNION ALL
    SELECT 'subscription', r.srsubid::text
      FROM pg_catalog.pg_subscription_rel r WHERE r.srrelid = $1
    UNION ALL
    SELECT 'comment ' || x.objsubid, x.description
      FROM pg_catalog.pg_description x
     WHERE x.classoid = 'pg_catalog.pg_class'::regclass AND x.objoid = $1
    UNION ALL
    -- Parts of a row type are there only where somebody has said something of it.
    SELECT 'grants of its row type', y.typacl::text
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type y ON y.oid = c.reltype
     WHERE c.oid = $1 AND y.typacl <> pg_catalog.acldefault('T', y.typowner)
    UNION ALL
    SELECT 'comment of its row type', x.description
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_description x
        ON x.classoid = 'pg_catalog.pg_type'::regclass AND x.objoid = c.reltype AND x.objsubid = 0
     WHERE c.oid = $1
    UNION ALL
    SELECT 'labels of its row type',
           pg_catalog.string_agg(pg_catalog.concat_ws(' ', l.provider, l.label), ', ' ORDER BY l.provider)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_seclabel l
        ON l.classoid = 'pg_catalog.pg_type'::regclass AND l.objoid = c.reltype
     WHERE c.oid = $1 HAVING count(*) > 0
  ) p
