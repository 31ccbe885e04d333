//! What hangs on a table. Names in statements are printed as the search_path of the moment shows
//! them: `crate::dependent` sets it so that they mean the copies when they are run.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::model::dependent::DependentKind;
use crate::oid::{FunctionId, ObjectId, RelationId, RoleId};
use crate::pg::spi::{self, Arg};

/// A view or a function that depends on the table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DependentRow {
    /// What it is.
    pub kind: DependentKind,
    pub oid: ObjectId,
    /// Name.
    pub name: Ident,
    /// Schema.
    pub schema: Ident,
    /// Name for messages.
    pub title: String,
    /// The longest way from the table.
    pub depth: i32,
    /// A materialized view with data.
    pub populated: bool,
}

/// A trigger, rule or policy of the table or of one of its views.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Part {
    pub oid: ObjectId,
    /// Name.
    pub name: Ident,
    /// The relation that it is a part of.
    pub parent: RelationId,
    /// Name for messages.
    pub title: String,
    /// `tgenabled` or `ev_enabled`.
    pub enabled: char,
}

/// A foreign key from the table or to it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ForeignKey {
    /// Name.
    pub name: Ident,
    /// The table that has it.
    pub child: RelationId,
    /// The table that it references.
    pub parent: RelationId,
    /// Schema of the child.
    pub child_schema: Ident,
    /// Name of the child.
    pub child_name: Ident,
    /// `relkind` of the child.
    pub child_kind: String,
    /// Schema of the parent.
    pub parent_schema: Ident,
    /// Name of the parent.
    pub parent_name: Ident,
    /// Columns of the child.
    pub columns: Vec<Ident>,
    /// Columns of the parent.
    pub referenced: Vec<Ident>,
    /// Columns of ON DELETE SET.
    pub set_columns: Vec<Ident>,
    /// `confmatchtype`.
    #[serde(rename = "match")]
    pub match_type: char,
    /// `confupdtype`.
    pub on_update: char,
    /// `confdeltype`.
    pub on_delete: char,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub deferred: bool,
    /// Validated.
    pub validated: bool,
    /// Not NOT ENFORCED (PostgreSQL 18).
    pub enforced: bool,
    /// Comment.
    pub comment: Option<String>,
    /// Its triggers are disabled.
    pub switched_off: bool,
    /// It belongs to one of a partitioned table.
    pub inherited: bool,
}

/// A publication that sends the table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Published {
    /// Name.
    pub name: Ident,
    /// Column list.
    pub columns: Option<Vec<Ident>>,
    /// Row filter.
    pub filter: Option<String>,
    /// Stored generated columns are sent, too, where there is no column list. Since PostgreSQL 18.
    pub sends_generated: bool,
}

/// A policy or a rule of another table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExternalReference {
    /// What it is.
    pub kind: DependentKind,
    pub oid: ObjectId,
    /// Name.
    pub name: Ident,
    /// The other table.
    pub relation: RelationId,
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub relation_name: Ident,
    /// Name for messages.
    pub title: String,
}

/// Something that a definition depends on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Use {
    /// Its catalog.
    pub class: RelationId,
    pub oid: ObjectId,
    /// Its owner; none for the bootstrap superuser.
    pub owner: Option<RoleId>,
}

/// Something that cannot be carried over.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct UnsupportedDependent {
    /// What kind of object.
    pub kind: String,
    /// Its name.
    pub name: String,
}

#[derive(Deserialize)]
struct Statement {
    statement: Option<String>,
}

/// Views and functions that depend on the table, in the order in which they can be made.
pub(crate) fn twins(table: RelationId) -> Result<Vec<DependentRow>> {
    spi::rows(include_str!("queries/dependent/twins.sql"), &[Arg::oid(table)])
}

/// The table, its views and its functions.
pub(crate) fn family(table: RelationId) -> Result<Vec<ObjectId>> {
    Ok(std::iter::once(table.into()).chain(twins(table)?.iter().map(|t| t.oid)).collect())
}

/// Parts of the table and of its views, by the query of their kind.
pub(crate) fn parts(query: &str, table: RelationId, views: &[RelationId]) -> Result<Vec<Part>> {
    let views = longs(views);
    spi::rows(query, &[Arg::oid(table), Arg::Ints(&views)])
}

/// Foreign keys from the table and to it.
pub(crate) fn foreign_keys(table: RelationId) -> Result<Vec<ForeignKey>> {
    spi::rows(include_str!("queries/dependent/foreign_keys.sql"), &[Arg::oid(table)])
}

/// The partitions of those of `tables` that are partitioned, at every level. Waits for nobody's lock.
pub(crate) fn partitions(tables: &[RelationId]) -> Result<Vec<RelationId>> {
    #[derive(Deserialize)]
    struct Row {
        oid: RelationId,
    }
    let tables = longs(tables);
    let query = include_str!("queries/dependent/partitions.sql");
    Ok(spi::rows::<Row>(query, &[Arg::Ints(&tables)])?.into_iter().map(|row| row.oid).collect())
}

/// Publications that name the table.
pub(crate) fn publications(table: RelationId) -> Result<Vec<Published>> {
    spi::rows(include_str!("queries/dependent/publications.sql"), &[Arg::oid(table)])
}

/// Publications of everything in the table's schema.
pub(crate) fn schema_publications(table: RelationId) -> Result<Vec<Published>> {
    spi::rows(include_str!("queries/dependent/schema_publications.sql"), &[Arg::oid(table)])
}

/// A generated column that is part of a table's replica identity.
#[derive(Debug, Deserialize)]
pub(crate) struct GeneratedIdentity {
    /// The column.
    pub name: Ident,
    /// Its values are stored, so that they can be sent.
    pub is_stored: bool,
    /// The server refuses updates and deletions where it is not published; otherwise subscribers get them without it.
    pub is_refused: bool,
}

/// The generated columns of the table's replica identity: of its index or, where the server asks for it, all.
pub(crate) fn generated_identity(table: RelationId) -> Result<Vec<GeneratedIdentity>> {
    spi::rows(include_str!("queries/dependent/generated_identity.sql"), &[Arg::oid(table)])
}

/// Policies and rules of other tables that depend on the table, its views or functions (`family`).
pub(crate) fn others(table: RelationId, family: &[ObjectId]) -> Result<Vec<ExternalReference>> {
    let family = longs(family);
    let args = [Arg::oid(table), Arg::Ints(&family)];
    spi::rows(include_str!("queries/dependent/others.sql"), &args)
}

/// What hangs on the table, its views or functions (`family`) and cannot be carried over.
pub(crate) fn strangers(
    table: RelationId,
    family: &[ObjectId],
) -> Result<Vec<UnsupportedDependent>> {
    let family = longs(family);
    let args = [Arg::oid(table), Arg::Ints(&family)];
    spi::rows(include_str!("queries/dependent/strangers.sql"), &args)
}

/// Constraints on the table and to it that cannot be carried over.
pub(crate) fn unsupported_constraints(table: RelationId) -> Result<Vec<UnsupportedDependent>> {
    spi::rows(include_str!("queries/dependent/unsupported_constraints.sql"), &[Arg::oid(table)])
}

/// The statements that make an object again, by the query of its kind; in `schema`, where it lives in
/// one.
pub(crate) fn make(query: &str, oid: ObjectId, schema: Option<&Ident>) -> Result<Vec<String>> {
    let schema = schema.map(|schema| Arg::Text(schema.as_str()));
    let args: Vec<_> = [Arg::oid(oid)].into_iter().chain(schema).collect();
    statements(spi::rows(query, &args)?)
}

/// The statements that give a copy of a materialized view the settings that depend on its types.
pub(crate) fn settings(original: RelationId, copy: RelationId) -> Result<Vec<String>> {
    let query = include_str!("queries/dependent/materialized_view_settings.sql");
    statements(spi::rows(query, &[Arg::oid(original), Arg::oid(copy)])?)
}

/// The statements that give the row type of a copy the comment and the labels of its original's.
pub(crate) fn row_type_settings(original: RelationId, copy: RelationId) -> Result<Vec<String>> {
    let query = include_str!("queries/dependent/row_type_settings.sql");
    statements(spi::rows(query, &[Arg::oid(original), Arg::oid(copy)])?)
}

/// The statement by which a policy or a rule of another table gets its expressions.
pub(crate) fn say(kind: DependentKind, oid: ObjectId) -> Result<Vec<String>> {
    let query = if kind == DependentKind::Policy {
        include_str!("queries/dependent/say_policy.sql")
    } else {
        include_str!("queries/dependent/say_rule.sql")
    };
    statements(spi::rows(query, &[Arg::oid(oid)])?)
}

fn statements(rows: Vec<Statement>) -> Result<Vec<String>> {
    rows.into_iter()
        .map(|row| {
            row.statement
                .ok_or_else(|| Error::internal("a definition has not the form that is known"))
        })
        .collect()
}

/// Marks of a table: statements, and whether they need its indexes.
pub(crate) fn marks(table: RelationId) -> Result<Vec<(String, bool)>> {
    #[derive(Deserialize)]
    struct Mark {
        statement: String,
        late: bool,
    }
    let rows: Vec<Mark> =
        spi::rows(include_str!("queries/dependent/marks.sql"), &[Arg::oid(table)])?;
    Ok(rows.into_iter().map(|m| (m.statement, m.late)).collect())
}

/// What an object of a catalog depends on; a row type stands for its relation.
pub(crate) fn needs(catalog: &str, oid: ObjectId) -> Result<Vec<Use>> {
    let args = [Arg::Text(catalog), Arg::oid(oid)];
    spi::rows(include_str!("queries/dependent/needs.sql"), &args)
}

/// Numbers of the columns of `table` that an object of a catalog depends on.
pub(crate) fn columns_used(catalog: &str, oid: ObjectId, table: RelationId) -> Result<Vec<i16>> {
    #[derive(Deserialize)]
    struct Column {
        attnum: i16,
    }
    let args = [Arg::Text(catalog), Arg::oid(oid), Arg::oid(table)];
    let rows: Vec<Column> = spi::rows(include_str!("queries/dependent/columns_used.sql"), &args)?;
    Ok(rows.into_iter().map(|c| c.attnum).collect())
}

/// Schemas of types that columns of the shadow have and none of the origin has.
pub(crate) fn schemas_of_new_types(origin: RelationId, shadow: RelationId) -> Result<Vec<Ident>> {
    #[derive(Deserialize)]
    struct Named {
        name: Ident,
    }
    let args = [Arg::oid(origin), Arg::oid(shadow)];
    let query = include_str!("queries/dependent/schemas_of_new_types.sql");
    Ok(spi::rows::<Named>(query, &args)?.into_iter().map(|row| row.name).collect())
}

/// Owner of a relation or a function.
pub(crate) fn owner(oid: ObjectId) -> Result<Option<RoleId>> {
    let sql = "SELECT coalesce((SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1),
                      (SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = $1))::int8";
    Ok(spi::one_kept::<i64>(sql, &[Arg::oid(oid)])?.map(|oid| RoleId::new(oid as u32)))
}

/// The part of that name of a relation: a trigger, a rule or a policy, by its catalog.
pub(crate) fn part(catalog: &str, relation: RelationId, name: &Ident) -> Result<Option<ObjectId>> {
    let sql = match catalog {
        "pg_catalog.pg_trigger" => {
            "SELECT oid::int8 FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgname = $2 AND NOT tgisinternal"
        }
        "pg_catalog.pg_rewrite" => {
            "SELECT oid::int8 FROM pg_catalog.pg_rewrite WHERE ev_class = $1 AND rulename = $2"
        }
        _ => "SELECT oid::int8 FROM pg_catalog.pg_policy WHERE polrelid = $1 AND polname = $2",
    };
    let args = [Arg::oid(relation), Arg::Text(name.as_str())];
    Ok(spi::one_kept::<i64>(sql, &args)?.map(|oid| ObjectId::new(oid as u32)))
}

/// Functions of that name in a schema.
pub(crate) fn functions(schema: &Ident, name: &Ident) -> Result<Vec<FunctionId>> {
    #[derive(Deserialize)]
    struct Row {
        oid: FunctionId,
    }
    let sql = "SELECT p.oid::int8 AS oid FROM pg_catalog.pg_proc p
                 JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                WHERE n.nspname = $1 AND p.proname = $2";
    let args = [Arg::Text(schema.as_str()), Arg::Text(name.as_str())];
    Ok(spi::rows::<Row>(sql, &args)?.into_iter().map(|r| r.oid).collect())
}

/// A word for the contents of a materialized view, which changes when it is refreshed, and may change without.
/// A refresh gives it another file; a concurrent one is seen in its statistics, some seconds later.
pub(crate) fn contents(view: RelationId) -> Result<Option<String>> {
    let sql = "SELECT pg_catalog.concat_ws(' ', c.relfilenode, pg_catalog.pg_stat_get_tuples_inserted(c.oid),
                   pg_catalog.pg_stat_get_tuples_deleted(c.oid))
              FROM pg_catalog.pg_class c WHERE c.oid = $1";
    spi::one_kept(sql, &[Arg::oid(view)])
}

/// A function as SQL names it, qualified.
pub(crate) fn function_name(oid: FunctionId) -> Result<Option<String>> {
    let sql = "SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p WHERE p.oid = $1";
    spi::one(sql, &[Arg::oid(oid)])
}

/// For an argument.
fn longs<Id: Copy + Into<i64>>(oids: &[Id]) -> Vec<i64> {
    oids.iter().map(|oid| (*oid).into()).collect()
}
