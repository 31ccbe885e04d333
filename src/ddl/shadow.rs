//! Statements that make the shadow and complete it.

use crate::ddl::{constraint, object, statistics};
use crate::ident::{Ident, QualifiedName};
use crate::model::plan::RecordedIndex;

/// Statements that build an index.
pub(crate) struct BuildIndex {
    /// Need no more than SHARE on the table.
    pub build: Vec<String>,
    /// Need ACCESS EXCLUSIVE, for a moment.
    pub exclusive: Vec<String>,
}

/// Builds an index from its deparse; one that a constraint owns is built first and attached then,
/// because ADD CONSTRAINT would hold ACCESS EXCLUSIVE for the whole build.
pub(crate) fn build_index(table: &QualifiedName, index: &RecordedIndex) -> BuildIndex {
    let mut build = Vec::new();
    let mut exclusive = Vec::new();
    let name = QualifiedName { schema: table.schema.clone(), name: index.name.clone() };
    match &index.constraint {
        Some(c) if c.kind == "x" => exclusive.extend(constraint::add(table, c)),
        Some(c) => {
            build.push(index.definition.clone());
            exclusive.extend(constraint::attach(table, c, &index.name));
        }
        None => build.push(index.definition.clone()),
    }
    let last = if exclusive.is_empty() { &mut build } else { &mut exclusive };
    if let Some(comment) = &index.comment {
        last.push(object::comment("INDEX", &name, Some(comment)));
    }
    for (column, target) in &index.statistics {
        last.push(statistics::set_index_target(&name, *column, *target));
    }
    BuildIndex { build, exclusive }
}

/// Drops an index, with the constraint that owns it.
pub(crate) fn drop_index(table: &QualifiedName, index: &RecordedIndex) -> String {
    match &index.constraint {
        Some(c) => constraint::drop(table, &c.name),
        None => format!("DROP INDEX {}.{} RESTRICT", table.schema, index.name),
    }
}

/// Marks blue's pages all-visible and frozen. It has no index yet. Empty pages at its end are given back where they
/// are many: a server that adds several at once leaves some. The lock for that, which keeps blue's readers out, is
/// only tried.
pub(crate) fn vacuum(blue: &QualifiedName) -> String {
    format!("VACUUM (FREEZE, TRUNCATE, PARALLEL 0) {blue}")
}

/// ANALYZE.
pub(crate) fn analyze(table: &QualifiedName) -> String {
    format!("ANALYZE {table}")
}

/// The triggers of both sides. A table captures or is guarded; the other kind is disabled. A dump
/// without our schema may have left some.
pub(crate) fn create_triggers(table: &QualifiedName) -> Vec<String> {
    vec![
        format!(
            "CREATE OR REPLACE TRIGGER bluegreen_capture AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION bluegreen.capture()"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER bluegreen_truncate AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION bluegreen.capture()"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER bluegreen_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION bluegreen.guard()"
        ),
    ]
}

/// Lets a table capture (green), or guards it (blue). ALWAYS: also under session_replication_role.
/// `others` are clauses for the table's own triggers and rules.
pub(crate) fn set_triggers(table: &QualifiedName, capture: bool, others: &[String]) -> String {
    let ours = if capture {
        "ENABLE ALWAYS TRIGGER bluegreen_capture, ENABLE ALWAYS TRIGGER bluegreen_truncate, DISABLE TRIGGER bluegreen_guard"
    } else {
        "DISABLE TRIGGER bluegreen_capture, DISABLE TRIGGER bluegreen_truncate, ENABLE ALWAYS TRIGGER bluegreen_guard"
    };
    let others: String = others.iter().map(|clause| format!(", {clause}")).collect();
    format!("ALTER TABLE ONLY {table} {ours}{others}")
}

/// A clause that gives one of the table's own triggers the state that `pg_trigger.tgenabled` says.
pub(crate) fn trigger_state(name: &Ident, enabled: char) -> String {
    let state = match enabled {
        'D' => "DISABLE",
        'R' => "ENABLE REPLICA",
        'A' => "ENABLE ALWAYS",
        _ => "ENABLE",
    };
    format!("{state} TRIGGER {name}")
}

/// Gives the table's own triggers and rules their states.
pub(crate) fn switch(table: &QualifiedName, clauses: &[String]) -> Option<String> {
    (!clauses.is_empty()).then(|| format!("ALTER TABLE ONLY {table} {}", clauses.join(", ")))
}

/// Takes the marks of a table off, as CREATE TABLE leaves it.
pub(crate) fn unmark(table: &QualifiedName) -> Vec<String> {
    vec![format!(
        "ALTER TABLE ONLY {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY, REPLICA IDENTITY DEFAULT, SET WITHOUT CLUSTER"
    )]
}

/// Takes the triggers off.
pub(crate) fn drop_triggers(table: &QualifiedName) -> Vec<String> {
    ["bluegreen_capture", "bluegreen_truncate", "bluegreen_guard"]
        .iter()
        .map(|t| format!("DROP TRIGGER IF EXISTS {t} ON {table}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Meaning, RecordedConstraint};

    fn constraint(kind: &str) -> RecordedConstraint {
        RecordedConstraint {
            name: Ident::new("t_pkey"),
            kind: kind.to_owned(),
            definition: "PRIMARY KEY (id)".to_owned(),
            deferrable: true,
            deferred: false,
            comment: None,
            meaning: Meaning::default(),
        }
    }

    #[test]
    fn a_primary_key_is_built_first_and_attached_then() {
        let index = RecordedIndex {
            name: Ident::new("t_pkey"),
            definition: "CREATE UNIQUE INDEX t_pkey ON s.t USING btree (id)".to_owned(),
            method: "btree".to_owned(),
            tablespace: None,
            constraint: Some(constraint("p")),
            comment: Some("it's".to_owned()),
            statistics: vec![],
            meaning: Meaning::default(),
        };
        let statements = build_index(&QualifiedName::new("s", "t"), &index);
        assert_eq!(statements.build.len(), 1);
        assert_eq!(
            statements.exclusive,
            vec![
                "ALTER TABLE ONLY \"s\".\"t\" ADD CONSTRAINT \"t_pkey\" PRIMARY KEY USING INDEX \"t_pkey\" DEFERRABLE",
                "COMMENT ON INDEX \"s\".\"t_pkey\" IS 'it''s'",
            ]
        );
    }
}
