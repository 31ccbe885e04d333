-- $1 name of a catalog, $2 object of it. The trees that are stored of it, part by part, and the relation
-- that each is over. Of a relation: those of its query, of its columns' defaults and of its indexes.
SELECT s.part, s.tree::text AS tree, s.form, s.relation::int8 AS relation FROM (
    SELECT 'USING' AS part, p.polqual AS tree, NULL AS form, p.polrelid AS relation
      FROM pg_catalog.pg_policy p
     WHERE $1::regclass = 'pg_catalog.pg_policy'::regclass AND p.oid = $2
    UNION ALL
    SELECT 'WITH CHECK', p.polwithcheck, NULL, p.polrelid
      FROM pg_catalog.pg_policy p
     WHERE $1::regclass = 'pg_catalog.pg_policy'::regclass AND p.oid = $2
    UNION ALL
    SELECT 'WHEN', g.tgqual, NULL, g.tgrelid
      FROM pg_catalog.pg_trigger g
     WHERE $1::regclass = 'pg_catalog.pg_trigger'::regclass AND g.oid = $2
    UNION ALL
    SELECT 'its actions', r.ev_action, NULL, r.ev_class
      FROM pg_catalog.pg_rewrite r
     WHERE $1::regclass = 'pg_catalog.pg_rewrite'::regclass AND r.oid = $2
    UNION ALL
    SELECT 'its query', r.ev_action, NULL, r.ev_class
      FROM pg_catalog.pg_rewrite r
     WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND r.ev_class = $2
       AND r.rulename = '_RETURN'
    UNION ALL
    SELECT 'its condition', r.ev_qual, NULL, r.ev_class
      FROM pg_catalog.pg_rewrite r
     WHERE $1::regclass = 'pg_catalog.pg_rewrite'::regclass AND r.oid = $2
    UNION ALL
    SELECT 'the default of column ' || d.adnum, d.adbin, NULL, d.adrelid
      FROM pg_catalog.pg_attrdef d
     WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND d.adrelid = $2
    UNION ALL
    SELECT 'the expressions of index ' || x.relname, i.indexprs, NULL, i.indrelid
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND i.indrelid = $2
    UNION ALL
    SELECT 'its expressions', i.indexprs, NULL, i.indrelid
      FROM pg_catalog.pg_index i
     WHERE $1::regclass = 'pg_catalog.pg_index'::regclass AND i.indexrelid = $2
    UNION ALL
    SELECT 'the predicate of index ' || x.relname, i.indpred, NULL, i.indrelid
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     WHERE $1::regclass = 'pg_catalog.pg_class'::regclass AND i.indrelid = $2
    UNION ALL
    SELECT 'its predicate', i.indpred, NULL, i.indrelid
      FROM pg_catalog.pg_index i
     WHERE $1::regclass = 'pg_catalog.pg_index'::regclass AND i.indexrelid = $2
    UNION ALL
    SELECT 'its operator classes', NULL, pg_catalog.concat_ws(' ', i.indclass, i.indcollation,
               i.indoption, k.conexclop), i.indrelid
      FROM pg_catalog.pg_index i
      LEFT JOIN pg_catalog.pg_constraint k
        ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype = 'x'
     WHERE $1::regclass = 'pg_catalog.pg_index'::regclass AND i.indexrelid = $2
    UNION ALL
    SELECT 'CHECK', k.conbin, NULL, k.conrelid
      FROM pg_catalog.pg_constraint k
     WHERE $1::regclass = 'pg_catalog.pg_constraint'::regclass AND k.oid = $2
    UNION ALL
    SELECT 'its body', f.prosqlbody, NULL, 0
      FROM pg_catalog.pg_proc f
     WHERE $1::regclass = 'pg_catalog.pg_proc'::regclass AND f.oid = $2
    UNION ALL
    SELECT 'its arguments'' defaults', f.proargdefaults, NULL, 0
      FROM pg_catalog.pg_proc f
     WHERE $1::regclass = 'pg_catalog.pg_proc'::regclass AND f.oid = $2) s
 WHERE s.tree IS NOT NULL AND s.tree::text <> '<>' OR s.form IS NOT NULL
 ORDER BY s.part
