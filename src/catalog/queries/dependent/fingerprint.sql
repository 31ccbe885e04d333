-- $1 relation, $2 it and its views and functions. The definitions of what hangs on it, part by part.
SELECT coalesce(pg_catalog.jsonb_object_agg(p.part, p.value), '{}')::text
  FROM (
    SELECT CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END
               || pg_catalog.format('%I.%I', n.nspname, c.relname) AS part,
           pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(c.relowner), c.relacl, c.reloptions,
               c.reltablespace, c.relispopulated, pg_catalog.pg_get_viewdef(c.oid),
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, a.attacl,
                           a.attstattarget, a.attstorage, a.attcompression, a.attoptions,
                           pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ',' ORDER BY a.attnum)
                  FROM pg_catalog.pg_attribute a
                  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                 WHERE a.attrelid = c.oid AND a.attnum > 0),
               (SELECT pg_catalog.string_agg(x.objsubid || x.description, ',' ORDER BY x.objsubid)
                  FROM pg_catalog.pg_description x
                 WHERE x.classoid = 'pg_catalog.pg_class'::regclass AND x.objoid = c.oid),
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                           pg_catalog.pg_get_indexdef(i.indexrelid), i.indisclustered, x.reltablespace,
                           (SELECT about.description FROM pg_catalog.pg_description about
                              WHERE about.classoid = 'pg_catalog.pg_class'::regclass
                                AND about.objoid = i.indexrelid AND about.objsubid = 0)), ','
                           ORDER BY i.indexrelid)
                  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid),
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', g.tgenabled,
                           pg_catalog.pg_get_triggerdef(g.oid),
                           (SELECT about.description FROM pg_catalog.pg_description about
                              WHERE about.classoid = 'pg_catalog.pg_trigger'::regclass
                                AND about.objoid = g.oid AND about.objsubid = 0)), ',' ORDER BY g.tgname)
                  FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
               (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', pg_catalog.pg_get_ruledef(r.oid),
                           (SELECT about.description FROM pg_catalog.pg_description about
                              WHERE about.classoid = 'pg_catalog.pg_rewrite'::regclass
                                AND about.objoid = r.oid AND about.objsubid = 0)), ',' ORDER BY r.rulename)
                  FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),
               (SELECT nullif(pg_catalog.concat_ws(' ', y.typacl, (SELECT about.description FROM pg_catalog.pg_description about
                     WHERE about.classoid = 'pg_catalog.pg_type'::regclass
                       AND about.objoid = y.oid AND about.objsubid = 0),
                           (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', l.provider, l.label), ','
                                       ORDER BY l.provider)
                              FROM pg_catalog.pg_seclabel l
                             WHERE l.classoid = 'pg_catalog.pg_type'::regclass AND l.objoid = y.oid)), '')
                  FROM pg_catalog.pg_type y WHERE y.oid = c.reltype))
               AS value
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY ($2::oid[]) AND c.oid <> $1
    UNION ALL
    SELECT 'function ' || f.oid::regprocedure::text,
           pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(f.proowner), f.proacl,
               CASE WHEN f.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(f.oid) END,
               (SELECT about.description FROM pg_catalog.pg_description about
                  WHERE about.classoid = 'pg_catalog.pg_proc'::regclass
                    AND about.objoid = f.oid AND about.objsubid = 0))
      FROM pg_catalog.pg_proc f WHERE f.oid = ANY ($2::oid[])
    UNION ALL
    SELECT DISTINCT pg_catalog.format('policy %I of %s', p.polname, p.polrelid::regclass),
           pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
               pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_policy p ON p.oid = d.objid
     WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND p.polrelid <> $1
       AND d.refobjid = ANY ($2::oid[])
    UNION ALL
    SELECT DISTINCT pg_catalog.format('rule %I of %s', r.rulename, r.ev_class::regclass),
           pg_catalog.pg_get_ruledef(r.oid)
      FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename <> '_RETURN'
     WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.ev_class <> ALL ($2::oid[])
       AND d.refobjid = ANY ($2::oid[])
  ) p
