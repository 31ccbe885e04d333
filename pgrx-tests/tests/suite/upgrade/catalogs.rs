//! What the catalogs have of the extension, as text: every member, and what belongs to a member.

use crate::story::Scene;

/// A line for each property. Names, no numbers: those of two databases differ.
const EVERYTHING: &str = "
WITH members AS (
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS object
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_bluegreen'
), relations AS (
    SELECT c.* FROM pg_class c JOIN members m
        ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
), with_parts AS (
    -- Indexes, their constraints, defaults and row types are members through their tables only.
    SELECT classid, objid FROM members
    UNION SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i JOIN relations r ON r.oid = i.indrelid
    UNION SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
    UNION SELECT 'pg_type'::regclass, r.reltype FROM relations r WHERE r.reltype <> 0
), lines AS (
SELECT 'member: ' || object AS line FROM members
UNION ALL
SELECT 'extension: schema ' || extnamespace::regnamespace || ', relocatable ' || extrelocatable
    || ', owner ' || extowner::regrole || ', dumped '
    || array_to_string(ARRAY(SELECT t::regclass::text || '/' || coalesce(extcondition[n], '')
        FROM unnest(extconfig) WITH ORDINALITY u (t, n) ORDER BY n), ' ')
FROM pg_extension WHERE extname = 'pg_bluegreen'
UNION ALL
SELECT 'schema ' || nspname || ': owner ' || nspowner::regrole
FROM pg_namespace n JOIN members m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
UNION ALL
SELECT 'relation ' || oid::regclass || ': kind ' || relkind::text || relpersistence::text || ', owner '
    || relowner::regrole || ', options ' || coalesce(reloptions::text, '') || ', identity '
    || relreplident::text || ', rls ' || relrowsecurity || relforcerowsecurity || ', columns ' || relnatts
    || ', access method ' || relam || ', tablespace ' || reltablespace || ', toast ' || (reltoastrelid <> 0)
FROM relations
UNION ALL
SELECT 'column ' || a.attrelid::regclass || '.' || a.attname || ': number ' || a.attnum || ', '
    || format_type(a.atttypid, a.atttypmod) || ', not null ' || a.attnotnull || ', default '
    || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ', identity ' || a.attidentity::text
    || ', generated ' || a.attgenerated::text || ', storage ' || a.attstorage::text || ', compression '
    || a.attcompression::text || ', statistics ' || coalesce(a.attstattarget, -1) || ', collation ' || a.attcollation
    || ', options ' || ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver=')::text || ', acl ' || coalesce(a.attacl::text, '')
    || ', missing ' || a.atthasmissing || ', dropped ' || a.attisdropped
FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ': ' || indisvalid || indisprimary || indisreplident
FROM pg_index i JOIN relations r ON r.oid = i.indrelid
UNION ALL
SELECT 'constraint ' || k.conname || ' on ' || k.conrelid::regclass || ': ' || pg_get_constraintdef(k.oid)
    || ' ' || k.convalidated
FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
UNION ALL
SELECT 'sequence ' || s.seqrelid::regclass || ': ' || (to_jsonb(s) - 'seqrelid')::text
FROM pg_sequence s JOIN relations r ON r.oid = s.seqrelid
UNION ALL
SELECT 'view ' || oid::regclass || ': ' || pg_get_viewdef(oid) FROM relations WHERE relkind = 'v'
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule ' || pg_get_ruledef(w.oid) || ' ' || w.ev_enabled::text
FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class
UNION ALL
SELECT 'function ' || p.oid::regprocedure || ': owner ' || p.proowner::regrole || ', result '
    || coalesce(pg_get_function_result(p.oid), '') || ', ' || pg_get_functiondef(p.oid)
FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
UNION ALL
SELECT 'comment on ' || pg_describe_object(x.classoid, x.objoid, x.objsubid) || ': ' || x.description
FROM pg_description x JOIN with_parts m ON m.classid = x.classoid AND m.objid = x.objoid
UNION ALL
SELECT 'label of ' || x.provider || ' on ' || pg_describe_object(x.classoid, x.objoid, x.objsubid) || ': '
    || x.label
FROM pg_seclabel x JOIN with_parts m ON m.classid = x.classoid AND m.objid = x.objoid
UNION ALL
SELECT 'privilege at first of ' || pg_describe_object(x.classoid, x.objoid, x.objsubid) || ': ' || acl
FROM pg_init_privs x JOIN with_parts m ON m.classid = x.classoid AND m.objid = x.objoid,
    unnest(x.initprivs) acl
UNION ALL
SELECT 'privilege on ' || m.object || ': ' || acl
FROM members m, unnest(coalesce(
    (SELECT coalesce(relacl, acldefault('r', relowner)) FROM pg_class
      WHERE m.classid = 'pg_class'::regclass AND oid = m.objid),
    (SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
      WHERE m.classid = 'pg_proc'::regclass AND oid = m.objid),
    (SELECT coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
      WHERE m.classid = 'pg_namespace'::regclass AND oid = m.objid))) acl
UNION ALL
SELECT 'dependency ' || pg_describe_object(d.classid, d.objid, d.objsubid) || ' on '
    || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) || ' ' || d.deptype::text
FROM pg_depend d JOIN with_parts m ON m.classid = d.classid AND m.objid = d.objid
)
SELECT line FROM lines ORDER BY line COLLATE \"C\"";

/// Everything of the extension in a database.
pub fn take(scene: &Scene) -> Vec<String> {
    let mut admin = scene.admin();
    admin.run("SET search_path = pg_catalog");
    admin.list(EVERYTHING)
}
