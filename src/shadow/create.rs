//! Making the shadow table.

use std::collections::{BTreeMap, HashMap};

use crate::catalog::event_trigger::changed;
use crate::catalog::{self, Table, tree};
use crate::ddl;
use crate::error::{Error, Result};
use crate::heap::toast_table;
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::changes::Change;
use crate::model::plan::{RecordedConstraint, RecordedIndex};
use crate::model::tree::{require, written};
use crate::oid::{RelationId, RoleId};
use crate::pg::reasons::Reasons;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::plan::properties;
use crate::shadow::meaning;

/// Makes an empty copy of `green` in `schema` and returns it. Runs as the extension, but for CREATE
/// TABLE itself: it evaluates index predicates of the user's. `settle` sees to it that nothing else was
/// put on it when it is there.
pub(crate) fn like(
    green: &Table,
    schema: &Ident,
    settle: impl FnOnce(RelationId, &QualifiedName) -> Result<()>,
) -> Result<RelationId> {
    let table = QualifiedName { schema: schema.clone(), name: green.name.clone() };
    let sql = ddl::table::create_like(&table, green);
    {
        let made = xact::subtransaction(|| {
            let _owner = Identity::table_owner(green.owner, &BTreeMap::new())?;
            spi::run(&sql, &[])
        });
        made.map_err(|caught| match caught.error.code {
            pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => caught.error.hint(format!(
                "The copy is made with the rights of role {}: GRANT it what is missing, also CREATE on the tablespaces of the indexes.",
                plain(green.owner_name.as_str())
            )),
            _ => caught.error,
        })?;
    }
    let shadow = catalog::relation_oid(&table)?.ok_or_else(|| {
        let fact = format!("the new table {} is not where it was made", table.plain());
        changed(fact, "CREATE TABLE")
    })?;
    settle(shadow, &table)?;
    if let Some(tablespace) = &green.tablespace {
        // The owner need not have CREATE on it.
        spi::run(&ddl::table::set_tablespace(&table, tablespace), &[])?;
    }
    unvalidate(green.oid, shadow, &table)?;
    if !green.toast_options.is_empty() {
        // It may have had long values only once. CREATE TABLE has given them to a TOAST table that it made.
        toast_table::make(shadow);
        spi::run(&ddl::table::set_toast_parameters(&table, &green.toast_options), &[])?;
    }
    add_what_like_leaves_out(green, shadow, &table)?;
    rename_parts(green, shadow, schema)?;
    add_what_like_leaves_out_of_indexes(green.oid, &table)?;
    Ok(shadow)
}

fn add_what_like_leaves_out(
    green: &Table,
    shadow: RelationId,
    table: &QualifiedName,
) -> Result<()> {
    if let Some(comment) = &green.comment {
        spi::run(&ddl::object::comment("TABLE", table, Some(comment)), &[])?;
    }
    for column in catalog::columns(green.oid)? {
        if column.statistics >= 0 {
            let sql = ddl::statistics::set_column_target(table, &column.name, column.statistics);
            spi::run(&sql, &[])?;
        }
        if column.dimensions > 0 {
            // No statement can say it; tools read how an array was declared.
            spi::run(
                "UPDATE pg_catalog.pg_attribute SET attndims = $3
                  WHERE attrelid = $1 AND attname = $2 AND attndims <> $3",
                &[
                    Arg::oid(shadow),
                    Arg::Text(column.name.as_str()),
                    Arg::Int(column.dimensions.into()),
                ],
            )?;
        }
        // attoptions may also hold private entries of the server (pg_attver).
        let public: Vec<_> =
            column.options.iter().filter(|o| o.starts_with("n_distinct")).cloned().collect();
        if !public.is_empty() {
            let sql = ddl::table::set_column_parameters(table, &column.name, &public);
            spi::run(&sql, &[])?;
        }
    }
    Ok(())
}

/// Comments on key constraints, statistics targets of index columns and of statistics objects. The names are green's by now.
fn add_what_like_leaves_out_of_indexes(green: RelationId, table: &QualifiedName) -> Result<()> {
    for index in catalog::indexes(green)? {
        let recorded = index.recorded;
        let name = QualifiedName { schema: table.schema.clone(), name: recorded.name };
        for (column, target) in &recorded.statistics {
            spi::run(&ddl::statistics::set_index_target(&name, *column, *target), &[])?;
        }
        if let Some(RecordedConstraint { name, comment: Some(comment), .. }) = &recorded.constraint
        {
            spi::run(&ddl::constraint::comment(table, name, comment), &[])?;
        }
    }
    for statistics in catalog::statistics(green)? {
        let name = QualifiedName { schema: table.schema.clone(), name: statistics.name };
        if statistics.target >= 0 {
            spi::run(&ddl::statistics::set_target(&name, statistics.target), &[])?;
        }
        spi::run(&ddl::statistics::set_owner(&name, &statistics.owner), &[])?;
    }
    Ok(())
}

/// Refuses a copy that lacks a property of its original, or has one too many. Right after LIKE, what it
/// leaves out, and the marks; before the changes.
pub(crate) fn require_same(green: &Table, shadow: RelationId) -> Result<()> {
    let (meant, found) = (properties_of(green.oid)?, properties_of(shadow)?);
    let lost = properties::lost(&meant, &found);
    properties::refusal(&green.qualified().plain(), &lost).map_or(Ok(()), Err)
}

/// The properties of a table but for those that we change ourselves while it is offline.
pub(crate) fn properties_of(table: RelationId) -> Result<serde_json::Value> {
    catalog::properties("pg_catalog.pg_class", table.into()).map(properties::without_ours)
}

/// LIKE makes default names; the copies come in the order of their originals.
fn rename_parts(green: &Table, shadow: RelationId, schema: &Ident) -> Result<()> {
    let kinds: [(&str, &str); 3] = [
        (
            "INDEX",
            "SELECT c.relname::text AS name FROM pg_catalog.pg_index i
               JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
              WHERE i.indrelid = $1 ORDER BY i.indexrelid",
        ),
        (
            "STATISTICS",
            "SELECT s.stxname::text AS name FROM pg_catalog.pg_statistic_ext s
              WHERE s.stxrelid = $1 ORDER BY s.oid",
        ),
        (
            "SEQUENCE",
            "SELECT s.relname::text AS name FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
               JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attidentity <> ''
              WHERE d.refobjid = $1 AND d.deptype = 'i'
                AND d.classid = 'pg_catalog.pg_class'::regclass
                AND d.refclassid = 'pg_catalog.pg_class'::regclass
              ORDER BY d.refobjsubid",
        ),
    ];
    #[derive(serde::Deserialize)]
    struct Named {
        name: Ident,
    }
    for (kind, sql) in kinds {
        let wanted: Vec<Named> = spi::rows(sql, &[Arg::oid(green.oid)])?;
        let made: Vec<Named> = spi::rows(sql, &[Arg::oid(shadow)])?;
        if wanted.len() != made.len() {
            return Err(Error::unsupported(format!(
                "{} has {} of kind {}, its copy has {}",
                green.qualified().plain(),
                wanted.len(),
                kind.to_lowercase(),
                made.len()
            ))
            .hint("Drop duplicates of the same index and run bg_prepare again."));
        }
        // Through names that nothing has, because a default name may be another one's final name.
        let aside = |i: usize| Ident::new(format!("bluegreen_rename_{i}"));
        let rename = |from: Ident, to: &Ident| {
            let from = QualifiedName { schema: schema.clone(), name: from };
            spi::run(&ddl::object::rename(kind, &from, to), &[])
        };
        for (i, made) in made.into_iter().enumerate() {
            rename(made.name, &aside(i))?;
        }
        for (i, wanted) in wanted.iter().enumerate() {
            rename(aside(i), &wanted.name)?;
        }
    }
    Ok(())
}

/// A part of the user's changes that is run at once.
pub(crate) struct Step<'a> {
    /// The changes, in their order.
    pub changes: Vec<&'a Change>,
    /// They rename, which reaches what hangs on the table.
    pub renames: bool,
}

/// The user's changes in steps on the empty shadow. `skip` are those, by their position, that are not
/// about the shadow.
pub(crate) fn steps<'a>(changes: &'a [Change], skip: &[usize]) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let kept = changes.iter().enumerate().filter(|(at, _)| !skip.contains(at));
    for (_, change) in kept {
        let renames = !matches!(change, Change::Alter { .. });
        match steps.last_mut() {
            Some(last) if last.renames == renames => last.changes.push(change),
            _ => steps.push(Step { changes: vec![change], renames }),
        }
    }
    steps
}

/// Runs changes of one step as the table's owner, names resolved as the caller sees them.
pub(crate) fn apply(
    table: &QualifiedName,
    changes: &[&Change],
    owner: RoleId,
    session: &BTreeMap<String, String>,
) -> Result<()> {
    let _owner = Identity::table_owner(owner, session)?;
    let mut together: Vec<&str> = Vec::new();
    for change in changes {
        let statement = match change {
            Change::Alter { text, .. } => {
                together.push(text);
                continue;
            }
            Change::RenameColumn { from, to } => {
                ddl::table::rename_column(table, &Ident::new(from), &Ident::new(to))
            }
            Change::RenameConstraint { from, to } => {
                ddl::table::rename_constraint(table, &Ident::new(from), &Ident::new(to))
            }
        };
        spi::run(&statement, &[])?;
    }
    if !together.is_empty() {
        spi::run(&ddl::table::alter(table, &together), &[])?;
    }
    Ok(())
}

/// Constraints of the shadow that are NOT VALID: those that were on green, those that the changes add
/// so. They are taken off (rows of old may break them) and come back at the end.
pub(crate) fn take_off_not_valid(
    shadow: RelationId,
    table: &QualifiedName,
) -> Result<Vec<RecordedConstraint>> {
    let mut recorded = Vec::new();
    for check in catalog::checks(shadow)?.into_iter().filter(|c| !c.valid) {
        recorded.push(meaning::take_off_check(table, check)?);
    }
    Ok(recorded)
}

/// LIKE copies a constraint that is NOT VALID as valid.
fn unvalidate(green: RelationId, shadow: RelationId, table: &QualifiedName) -> Result<()> {
    let not_valid: Vec<_> = catalog::checks(green)?.into_iter().filter(|c| !c.valid).collect();
    if not_valid.is_empty() {
        return Ok(());
    }
    let copies = HashMap::from([(green.into(), shadow.into())]);
    let known = tree::counterparts(&copies, [(shadow, tree::columns_in_order(green)?)])?;
    for check in not_valid {
        let original = meaning::read_check(check)?;
        spi::run(&ddl::constraint::drop(table, &original.name), &[])?;
        meaning::add_check(table, &original)?;
        let made = catalog::checks(shadow)?;
        if let Some(copy) = made.iter().find(|c| c.recorded.name == original.name) {
            let found = written(&tree::parts(tree::CONSTRAINT, copy.oid.into(), &known)?);
            let title = format!("constraint {}", plain(original.name.as_str()));
            require(&title, original.meaning.tree.as_deref().unwrap_or_default(), &found)?;
        }
    }
    Ok(())
}

/// Records the shadow's indexes as the server deparses them, and drops them for the copy.
pub(crate) fn take_off_indexes(
    shadow: RelationId,
    table: &QualifiedName,
) -> Result<Vec<RecordedIndex>> {
    let mut indexes: Vec<_> =
        catalog::indexes(shadow)?.into_iter().map(|index| index.recorded).collect();
    for index in &mut indexes {
        meaning::take_off_index(table, index)?;
    }
    Ok(indexes)
}

/// Switches autovacuum of blue off until the swap; gives what was set before.
pub(crate) fn switch_autovacuum_off(
    shadow: &Table,
    table: &QualifiedName,
) -> Result<Option<String>> {
    let before = shadow
        .options
        .iter()
        .find_map(|o| o.strip_prefix("autovacuum_enabled=").map(str::to_owned));
    spi::run(&ddl::table::set_autovacuum(table, Some("false")), &[])?;
    Ok(before)
}

/// Refuses a hand-made target that cannot serve, and empties nothing. An error where it is not even one to
/// look at further.
pub(crate) fn check_target(green: &Table, target: &Table, reasons: &Reasons<'_>) -> Result<()> {
    let name = target.qualified().plain();
    let wrong = |fact: &str| {
        Error::new(pgrx::PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("target {name} {fact}"))
            .hint(format!(
                "Give an empty ordinary table of role {} as target.",
                plain(green.owner_name.as_str())
            ))
    };
    let not_one = [
        (target.oid == green.oid, "is the table itself"),
        (target.kind != "r", "is not an ordinary table"),
        (target.owner != green.owner, "belongs to another owner than the table that it replaces"),
        (target.is_system, "is a system table"),
    ];
    if let Some((_, fact)) = not_one.iter().find(|(is_so, _)| *is_so) {
        return Err(wrong(fact));
    }
    let unfit = [
        (
            target.persistence != green.persistence,
            "is unlogged where the table that it replaces is not, or the other way round",
        ),
        (
            target.row_security || target.force_row_security,
            "has row level security of its own, where it gets that of the live table",
        ),
        (
            target.replica_identity != "d",
            "has a replica identity of its own, where it gets that of the live table",
        ),
    ];
    for (_, fact) in unfit.iter().filter(|(is_so, _)| *is_so) {
        reasons.refuse(wrong(fact))?;
    }
    if catalog::blocks(target.oid)? > 0 && has_rows(target)? {
        reasons.refuse(
            Error::state(format!("target {name} is not empty"))
                .hint("TRUNCATE it first: its rows come from the table that it replaces."),
        )?;
    }
    Ok(())
}

fn has_rows(target: &Table) -> Result<bool> {
    // As the owner, who may have put a view in its place meanwhile.
    let _owner = Identity::table_owner(target.owner, &BTreeMap::new())?;
    let sql = ddl::table::has_rows(&target.qualified());
    Ok(spi::one::<bool>(&sql, &[])?.unwrap_or(false))
}
