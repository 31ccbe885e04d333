-- $1 pattern of a constant in a stored tree that is one of the OIDs; what it captures are the OID's bytes.
-- What has such a constant, and the bytes.
WITH stored (classid, objid, tree) AS (
    SELECT CASE WHEN r.rulename = '_RETURN' THEN 'pg_catalog.pg_class'::regclass
                ELSE 'pg_catalog.pg_rewrite'::regclass END,
           CASE WHEN r.rulename = '_RETURN' THEN r.ev_class ELSE r.oid END,
           r.ev_action::text || r.ev_qual::text
      FROM pg_catalog.pg_rewrite r
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, p.oid, p.prosqlbody::text
      FROM pg_catalog.pg_proc p WHERE p.prosqlbody IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid,
           pg_catalog.concat(p.polqual::text, p.polwithcheck::text)
      FROM pg_catalog.pg_policy p
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, k.conbin::text
      FROM pg_catalog.pg_constraint k WHERE k.conbin IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass, d.oid, d.adbin::text FROM pg_catalog.pg_attrdef d
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid,
           pg_catalog.concat(i.indexprs::text, i.indpred::text)
      FROM pg_catalog.pg_index i WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_trigger'::regclass, g.oid, g.tgqual::text
      FROM pg_catalog.pg_trigger g WHERE g.tgqual IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::regclass, s.oid, s.stxexprs::text
      FROM pg_catalog.pg_statistic_ext s WHERE s.stxexprs IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_publication_rel'::regclass, p.oid, p.prqual::text
      FROM pg_catalog.pg_publication_rel p WHERE p.prqual IS NOT NULL)
SELECT DISTINCT pg_catalog.pg_describe_object(s.classid, s.objid, 0) AS what, coalesce(m.found[1], m.found[2]) AS bytes
  FROM stored s CROSS JOIN LATERAL pg_catalog.regexp_matches(s.tree, $1, 'g') m (found)
 WHERE s.objid >= 16384
 ORDER BY 1, 2
