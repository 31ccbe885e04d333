//! One reader per catalog question: a `.sql` file, a row struct, a function.
//!
//! All run as the extension's owner (`pg::security::Identity::extension`) with a pinned
//! search_path, so every name that the server deparses is qualified.

pub(crate) mod dependent;
pub(crate) mod directory;
pub(crate) mod event_trigger;
pub(crate) mod extension;
pub(crate) mod kept;
pub(crate) mod reference;
pub(crate) mod row_type;
pub(crate) mod storage;
pub(crate) mod tree;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::key::{Equality, Key, KeyColumn};
use crate::model::plan::{RecordedConstraint, RecordedIndex};
use crate::oid::{
    CollationId, ConstraintId, FileNode, ObjectId, OperatorClassId, OperatorId, RelationId, RoleId,
    SchemaId, TypeId,
};
use crate::pg::opclass;
use crate::pg::spi::{self, Arg};

/// What a table is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Table {
    pub oid: RelationId,
    /// Schema.
    pub schema: Ident,
    /// Name.
    pub name: Ident,
    pub schema_oid: SchemaId,
    /// `relkind`.
    pub kind: String,
    /// `relpersistence`.
    pub persistence: String,
    /// Owner.
    pub owner: RoleId,
    /// Name of the owner.
    pub owner_name: Ident,
    /// A partition of another table.
    pub is_partition: bool,
    /// OF a composite type.
    pub is_typed: bool,
    /// ROW LEVEL SECURITY is enabled.
    pub row_security: bool,
    /// … and forced on the owner.
    pub force_row_security: bool,
    /// `relreplident`.
    pub replica_identity: String,
    /// File number.
    pub relfilenode: FileNode,
    /// Estimated rows.
    pub row_estimate: i64,
    /// A catalog or a table of ours.
    pub is_system: bool,
    /// Access method.
    pub access_method: Option<Ident>,
    /// Tablespace, when not the database's default.
    pub tablespace: Option<Ident>,
    /// Storage parameters, `name=value`.
    pub options: Vec<String>,
    /// Storage parameters of its TOAST table.
    pub toast_options: Vec<String>,
    /// Comment.
    pub comment: Option<String>,
}

impl Table {
    /// Its qualified name.
    pub(crate) fn qualified(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.name.clone() }
    }
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    /// Attribute number.
    pub attnum: i16,
    /// Name.
    pub name: Ident,
    /// Type.
    pub type_oid: TypeId,
    /// Type modifier.
    pub typmod: i32,
    /// Type as SQL.
    pub type_sql: String,
    /// The base type, when the type is a domain; else the type.
    pub base_oid: TypeId,
    /// The base type as SQL.
    pub base_sql: String,
    /// Its collation, 0 for none.
    pub collation: CollationId,
    /// The collation as SQL.
    pub collation_sql: Option<String>,
    /// NOT NULL.
    pub not_null: bool,
    /// It has a default or is generated.
    pub has_default: bool,
    /// `attidentity`.
    pub identity: String,
    /// `attgenerated`.
    pub generated: String,
    /// Default expression.
    pub default: Option<String>,
    /// Statistics target, -1 for the default.
    pub statistics: i32,
    /// `attoptions`.
    pub options: Vec<String>,
    /// `attndims`.
    pub dimensions: i32,
    /// Comment.
    pub comment: Option<String>,
}

impl Column {
    /// No row has its value: the server computes it where it is read. Since PostgreSQL 18.
    pub(crate) fn is_virtual(&self) -> bool {
        self.generated == "v"
    }
}

/// An index.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    /// What is needed to build it again.
    #[serde(flatten)]
    pub recorded: RecordedIndex,
}

/// A CHECK constraint.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Check {
    pub oid: ConstraintId,
    /// What is needed to add it again.
    #[serde(flatten)]
    pub recorded: RecordedConstraint,
    /// Validated.
    pub valid: bool,
}

/// A CHECK constraint whose result may change without a change of the row.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ChangingCheck {
    /// Name.
    pub name: Ident,
    /// What it calls, as messages name it.
    pub calls: String,
}

/// An extended statistics object.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Statistics {
    /// Name.
    pub name: Ident,
    /// Schema.
    pub schema: Ident,
    /// Target, -1 for the default.
    pub target: i32,
    /// Name of the owner.
    pub owner: Ident,
}

impl Statistics {
    /// Their qualified name.
    pub(crate) fn qualified(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.name.clone() }
    }
}

/// A sequence that a column owns.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sequence {
    /// Attribute number of the column.
    pub attnum: i16,
    /// The column.
    pub column: Ident,
    /// The sequence.
    pub oid: RelationId,
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// `i` identity, `a` serial.
    pub kind: char,
    /// Its type.
    pub type_oid: TypeId,
    /// Its far end is that of its type.
    pub at_type_limit: bool,
    /// It counts upwards.
    pub ascending: bool,
    /// Its options as SQL, one each, always in the same order.
    pub options: Vec<String>,
}

impl Sequence {
    /// Its qualified name.
    pub(crate) fn qualified(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.name.clone() }
    }
}

/// Names of a table's indexes and extended statistics, in the order in which they were made.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct PartsMade {
    /// The indexes.
    pub indexes: Vec<String>,
    /// The extended statistics.
    pub statistics: Vec<String>,
}

/// Who stands in the way of a lock.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Blocker {
    /// Backend; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Role.
    pub user: Option<String>,
    /// application_name.
    pub application: Option<String>,
    /// What it holds.
    pub what: Option<String>,
    /// Its last statement.
    pub query: Option<String>,
    /// When its transaction began, in seconds since 1970.
    pub since: Option<f64>,
}

/// What the table is; None when there is no such relation. Waits for nobody's lock.
pub(crate) fn table(oid: RelationId) -> Result<Option<Table>> {
    Ok(spi::rows(include_str!("queries/table.sql"), &[Arg::oid(oid)])?.pop())
}

/// The table, which must exist.
pub(crate) fn existing_table(oid: RelationId) -> Result<Table> {
    table(oid)?.ok_or_else(|| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("there is no relation with OID {oid}"),
        )
        .hint("If it was dropped during a deployment, run SELECT bg_abort(id) with the deployment's id from bg_status.")
    })
}

/// Its size in blocks. Waits for somebody who has locked it ACCESS EXCLUSIVE.
pub(crate) fn blocks(oid: RelationId) -> Result<i64> {
    let sql = "SELECT pg_catalog.pg_relation_size($1::oid) / pg_catalog.current_setting('block_size')::int8";
    Ok(spi::one_kept(sql, &[Arg::oid(oid)])?.unwrap_or(0))
}

/// How far the builds of its indexes are that are going on, 0 to 1 each.
pub(crate) fn index_builds(oid: RelationId) -> Result<Vec<f64>> {
    let sql = include_str!("queries/index_builds.sql");
    Ok(spi::one::<Vec<f64>>(sql, &[Arg::oid(oid)])?.unwrap_or_default())
}

/// Its columns, in order.
pub(crate) fn columns(oid: RelationId) -> Result<Vec<Column>> {
    spi::rows(include_str!("queries/columns.sql"), &[Arg::oid(oid)])
}

/// The default or generation expression of a column as the server stores it.
pub(crate) fn default_tree(oid: RelationId, column: i16) -> Result<Option<String>> {
    let sql = "SELECT d.adbin::text FROM pg_catalog.pg_attrdef d
                WHERE d.adrelid = $1 AND d.adnum = $2";
    spi::one_kept(sql, &[Arg::oid(oid), Arg::Int(column.into())])
}

/// Its indexes, primary key first.
pub(crate) fn indexes(oid: RelationId) -> Result<Vec<Index>> {
    spi::rows(include_str!("queries/indexes.sql"), &[Arg::oid(oid)])
}

/// Its CHECK constraints.
pub(crate) fn checks(oid: RelationId) -> Result<Vec<Check>> {
    spi::rows(include_str!("queries/checks.sql"), &[Arg::oid(oid)])
}

/// Its CHECK constraints whose result may change without a change of the row.
pub(crate) fn changing_checks(oid: RelationId) -> Result<Vec<ChangingCheck>> {
    spi::rows(include_str!("queries/changing_checks.sql"), &[Arg::oid(oid)])
}

/// Its extended statistics.
pub(crate) fn statistics(oid: RelationId) -> Result<Vec<Statistics>> {
    spi::rows(include_str!("queries/statistics.sql"), &[Arg::oid(oid)])
}

/// The sequences that its columns own.
pub(crate) fn sequences(oid: RelationId) -> Result<Vec<Sequence>> {
    spi::rows(include_str!("queries/sequences.sql"), &[Arg::oid(oid)])
}

/// Who holds what a swap would wait for: locks on `relations`, snapshots older than `drain_xid`.
pub(crate) fn blockers(
    relations: &[RelationId],
    drain_xid: u64,
    caller: RoleId,
) -> Result<Vec<Blocker>> {
    let relations: Vec<i64> = relations.iter().map(|oid| i64::from(*oid)).collect();
    let args = [Arg::Ints(&relations), Arg::Int(drain_xid as i64), Arg::oid(caller)];
    spi::rows(include_str!("queries/blockers.sql"), &args)
}

/// The pids of walsenders that make the first copy of a subscription of the table, as a moment before
/// `xid` saw it.
pub(crate) fn first_copies(table: RelationId, xid: u64) -> Result<Option<String>> {
    // What others do is remembered within a transaction.
    spi::one_kept::<bool>("SELECT pg_catalog.pg_stat_clear_snapshot() IS NULL", &[])?;
    let args = [Arg::oid(table), Arg::Int(xid as i64)];
    spi::one_kept(include_str!("queries/first_copies.sql"), &args)
}

/// Its definition, part by part, with that of what hangs on it.
pub(crate) fn fingerprint(oid: RelationId) -> Result<serde_json::Value> {
    let family = dependent::family(oid)?;
    let own = parts(include_str!("queries/fingerprint.sql"), &[Arg::oid(oid)])?;
    let longs: Vec<i64> = family.iter().map(|oid| i64::from(*oid)).collect();
    let args = [Arg::oid(oid), Arg::Ints(&longs)];
    let others = parts(include_str!("queries/dependent/fingerprint.sql"), &args)?;
    Ok(serde_json::Value::Object(own.into_iter().chain(others).collect()))
}

/// What the parts of a fingerprint are without the names of other objects, for those that may print otherwise
/// without being another.
pub(crate) fn identities(oid: RelationId) -> Result<serde_json::Value> {
    let family = dependent::family(oid)?;
    let longs: Vec<i64> = family.iter().map(|oid| i64::from(*oid)).collect();
    let args = [Arg::oid(oid), Arg::Ints(&longs)];
    parts(include_str!("queries/identities.sql"), &args).map(serde_json::Value::Object)
}

fn parts(query: &str, args: &[Arg<'_>]) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text: Option<String> = spi::one_kept(query, args)?;
    serde_json::from_str(text.as_deref().unwrap_or("{}"))
        .map_err(|e| Error::internal(format!("a fingerprint cannot be read: {e}")))
}

/// All properties of an object of a catalog, part by part, that a copy of it ought to have.
pub(crate) fn properties(catalog: &str, oid: ObjectId) -> Result<serde_json::Value> {
    let args = [Arg::Text(catalog), Arg::oid(oid)];
    parts(include_str!("queries/properties.sql"), &args).map(serde_json::Value::Object)
}

/// The extended statistics in a schema, whatever their tables.
pub(crate) fn statistics_in(schema: &Ident) -> Result<Vec<Statistics>> {
    spi::rows(include_str!("queries/statistics_in.sql"), &[Arg::Text(schema.as_str())])
}

/// Its indexes and extended statistics, in the order in which they were made.
pub(crate) fn parts_made(oid: RelationId) -> Result<PartsMade> {
    spi::row(include_str!("queries/parts_made.sql"), &[Arg::oid(oid)])
}

/// In which form a change log is, as far as a quick look tells: `intact`, `more` (something was put on it, or
/// was once), `columns` (they are not those that it was made with); None where there is none. `types` are
/// those of its key.
pub(crate) fn log_form(log: &QualifiedName, types: &[i64]) -> Result<Option<String>> {
    let args = [Arg::Text(log.schema.as_str()), Arg::Text(log.name.as_str()), Arg::Ints(types)];
    spi::one_kept(include_str!("queries/log_form.sql"), &args)
}

/// Unique keys by which its rows can be followed, the best first.
pub(crate) fn keys(oid: RelationId) -> Result<Vec<Key>> {
    #[derive(Deserialize)]
    struct Row {
        index: String,
        primary: bool,
        deferrable: bool,
        columns: Option<Vec<KeyRow>>,
    }
    #[derive(Deserialize)]
    struct KeyRow {
        attnum: i16,
        equals: String,
        operator: OperatorId,
        operator_class: OperatorClassId,
        collation: CollationId,
        not_null: bool,
    }
    let equality = |k: &KeyRow, column: &Column| {
        let bitwise = opclass::is_bitwise(k.operator_class, k.collation);
        let is_columns = k.collation == column.collation
            || (bitwise && opclass::is_bitwise(k.operator_class, column.collation));
        Equality { operator: k.operator, collation: k.collation, bitwise, is_columns }
    };
    let columns = columns(oid)?;
    let rows: Vec<Row> = spi::rows(include_str!("queries/keys.sql"), &[Arg::oid(oid)])?;
    let mut keys = Vec::new();
    for row in rows {
        let Some(key_columns) = row.columns else { continue };
        if !key_columns.iter().all(|k| k.not_null) {
            continue;
        }
        let resolved: Option<Vec<KeyColumn>> = key_columns
            .iter()
            .map(|k| {
                columns
                    .iter()
                    .find(|c| c.attnum == k.attnum)
                    .map(|c| key_column(c, k.equals.clone(), equality(k, c)))
            })
            .collect();
        if let Some(columns) = resolved {
            keys.push(Key {
                index: row.index,
                columns,
                deferrable: row.deferrable,
                primary: row.primary,
            });
        }
    }
    Ok(keys)
}

fn key_column(column: &Column, equals: String, equality: Equality) -> KeyColumn {
    KeyColumn {
        name: column.name.clone(),
        attnum: column.attnum,
        type_sql: column.base_sql.clone(),
        type_oid: column.base_oid,
        collation: column.collation,
        collation_sql: column.collation_sql.clone(),
        equals,
        equality,
    }
}

/// Whether there is such a relation. Takes no lock on it, as its size would.
pub(crate) fn is_there(oid: RelationId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = $1)";
    Ok(spi::one_kept::<bool>(sql, &[Arg::oid(oid)])?.unwrap_or(false))
}

/// A relation by its name, if it exists.
pub(crate) fn relation_oid(name: &QualifiedName) -> Result<Option<RelationId>> {
    let sql = "SELECT c.oid::int8 FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = $1 AND c.relname = $2";
    let args = [Arg::Text(name.schema.as_str()), Arg::Text(name.name.as_str())];
    Ok(spi::one_kept::<i64>(sql, &args)?.map(|oid| RelationId::new(oid as u32)))
}

/// Whether something in the schema has a name that another could not be given.
pub(crate) fn is_taken(name: &QualifiedName) -> Result<bool> {
    let args = [Arg::Text(name.schema.as_str()), Arg::Text(name.name.as_str())];
    Ok(spi::one_kept::<bool>(include_str!("queries/is_taken.sql"), &args)?.unwrap_or(false))
}

/// A schema by its name, if it exists.
pub(crate) fn schema_oid(name: &Ident) -> Result<Option<SchemaId>> {
    let sql = "SELECT oid::int8 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    let oid = spi::one_kept::<i64>(sql, &[Arg::Text(name.as_str())])?;
    Ok(oid.map(|oid| SchemaId::new(oid as u32)))
}

/// A schema of a deployment, which must exist.
pub(crate) fn existing_schema(name: &Ident) -> Result<SchemaId> {
    schema_oid(name)?.ok_or_else(|| {
        let name = crate::ident::plain(name.as_str());
        Error::state(format!("schema {name} of a deployment does not exist")).hint("End the deployment with SELECT bg_abort(table), after a swap with SELECT bg_finish(table).")
    })
}

/// Refuses where a schema that we have just made is not there, or another role's: its owner could drop what is
/// in it, and put something where it is found first.
pub(crate) fn require_own_schema(name: &Ident) -> Result<()> {
    let sql = "SELECT n.nspowner = u.oid FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles u
                WHERE n.nspname = $1 AND u.rolname = current_user";
    if spi::one_kept::<bool>(sql, &[Arg::Text(name.as_str())])? == Some(true) {
        return Ok(());
    }
    let fact = format!(
        "schema {} was renamed or given to another owner",
        crate::ident::plain(name.as_str())
    );
    Err(event_trigger::changed(fact, "CREATE SCHEMA"))
}

/// Whether `role` has the rights of `owner` (or is a superuser).
pub(crate) fn is_owner(role: RoleId, owner: RoleId) -> Result<bool> {
    let sql = "SELECT pg_catalog.pg_has_role($1::oid, $2::oid, 'USAGE')";
    Ok(spi::one::<bool>(sql, &[Arg::oid(role), Arg::oid(owner)])?.unwrap_or(false))
}

/// Whether commits wait for standbys to replay, and one of them has not yet come to a position of the WAL.
pub(crate) fn commits_wait_for_replay(position: &str) -> Result<bool> {
    let sql = include_str!("queries/commits_wait_for_replay.sql");
    Ok(spi::one_kept::<bool>(sql, &[Arg::Text(position)])? == Some(true))
}
