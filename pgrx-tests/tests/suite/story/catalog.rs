//! What is in a database, so that a test can say that nothing was left behind.

use std::collections::BTreeSet;

use super::person::Person;

/// Every object, in words. OIDs and the extension's own rows about deployments that are over are no
/// part of it.
const OBJECTS: &str = "
SELECT 'schema ' || nspname || ' of ' || pg_get_userbyid(nspowner) || ' ' || coalesce(nspacl::text, '')
FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)_'
UNION ALL
SELECT 'relation ' || c.oid::regclass::text || ' ' || c.relkind::text || c.relpersistence::text
    || ' in ' || c.relnamespace::regnamespace || ' of ' || pg_get_userbyid(c.relowner)
    || ' acl ' || coalesce((SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(c.relacl) a), '')
    || ' options ' || coalesce(c.reloptions::text, '')
    || ' rls ' || c.relrowsecurity || c.relforcerowsecurity || ' identity ' || c.relreplident::text
    || ' comment ' || coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_class c WHERE c.relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace)
    AND c.relpersistence <> 't'
UNION ALL
SELECT 'column ' || a.attrelid::regclass || '.' || a.attname || ' '
    || format_type(a.atttypid, a.atttypmod) || ' notnull ' || a.attnotnull
    || ' identity ' || a.attidentity::text || ' generated ' || a.attgenerated::text
    || ' default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    || ' acl ' || coalesce(a.attacl::text, '') || ' statistics ' || coalesce(a.attstattarget, -1)
    || ' storage ' || a.attstorage::text || ' options ' || array_to_string(ARRAY(SELECT o FROM unnest(a.attoptions) o
        WHERE o !~ '^pg_attver='), ' ')
    || ' comment ' || coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm')
    AND c.relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace)
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' valid ' || i.indisvalid || ' clustered '
    || i.indisclustered
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace)
UNION ALL
SELECT 'constraint ' || c.conname || ' on ' || coalesce(nullif(c.conrelid, 0)::regclass::text, '-')
    || ' ' || pg_get_constraintdef(c.oid)
    || ' comment ' || coalesce(obj_description(c.oid, 'pg_constraint'), '')
FROM pg_constraint c
-- Since 18 a column that is NOT NULL has one; which columns of ours are is said above.
WHERE NOT (c.contype = 'n' AND c.connamespace = 'bluegreen'::regnamespace)
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT 'sequence ' || s.seqrelid::regclass || ' ' || s.seqtypid::regtype || ' ' || s.seqmax
    || ' owned by ' || coalesce((SELECT d.refobjid::regclass || '.' || d.refobjsubid || d.deptype::text
        FROM pg_depend d WHERE d.objid = s.seqrelid AND d.classid = 'pg_class'::regclass
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 LIMIT 1), '-')
FROM pg_sequence s
UNION ALL
SELECT 'statistics ' || pg_get_statisticsobjdef(oid) || ' of ' || pg_get_userbyid(stxowner)
    || ' target ' || coalesce(stxstattarget, -1)
FROM pg_statistic_ext
UNION ALL
SELECT 'function ' || oid::regprocedure::text || ' of ' || pg_get_userbyid(proowner)
FROM pg_proc WHERE pronamespace <> 'pg_catalog'::regnamespace
UNION ALL
SELECT 'type ' || typname || ' in ' || typnamespace::regnamespace
FROM pg_type WHERE typnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace)
UNION ALL SELECT 'rule ' || rulename || ' on ' || ev_class::regclass FROM pg_rewrite
    WHERE rulename <> '_RETURN'
UNION ALL SELECT 'capture ' || relation::regclass FROM bluegreen.capture
UNION ALL SELECT 'truncation of ' || relation::regclass FROM bluegreen.truncation
UNION ALL SELECT 'misfit of ' || deployment FROM bluegreen.misfit WHERE NOT set_aside
UNION ALL SELECT 'deployment ' || id || ' of ' || source_table || ' ' || phase
    FROM bluegreen.deployment WHERE phase NOT IN ('finished', 'aborted')";

/// Everything in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory(BTreeSet<String>);

impl Inventory {
    pub fn take(admin: &mut Person) -> Self {
        // A fixed search_path: names are printed with their schema or without, always the same.
        admin.run("SET search_path = pg_catalog");
        let list = admin.list(OBJECTS);
        admin.run("RESET search_path");
        Self(list.into_iter().collect())
    }

    /// Asserts that two inventories are the same.
    #[track_caller]
    pub fn assert_same(&self, later: &Inventory) {
        let gone: Vec<_> = self.0.difference(&later.0).collect();
        let come: Vec<_> = later.0.difference(&self.0).collect();
        assert!(gone.is_empty() && come.is_empty(), "gone: {gone:#?}\ncome: {come:#?}");
    }

    /// Without the objects whose words have one of these in them.
    pub fn without(self, parts: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|o| !parts.iter().any(|part| o.contains(part))).collect())
    }

    /// The objects whose words have this in them.
    pub fn with(&self, part: &str) -> Vec<&str> {
        self.0.iter().map(String::as_str).filter(|object| object.contains(part)).collect()
    }
}
