//! The mappings between origin and shadow, and the keys by which rows are followed.

use serde_json::{Map, Value};

use crate::catalog::{self, Column, tree};
use crate::error::{Error, Result};
use crate::ident::{Ident, plain};
use crate::model::changes::{Action, Change};
use crate::model::key::Key;
use crate::model::mapping::{MappedColumn, Mapping};
use crate::oid::{OperatorId, RelationId};
use crate::pg::parse::{self, A_KEY, Expression, Search, Volatility, Way};
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::shadow::mapped::{How, Mapped, OneWay, Sides, target};
use crate::shadow::{exact, generated};

/// Both mappings.
pub(crate) struct Mappings {
    /// Origin to shadow.
    pub forward: Mapping,
    /// Shadow to origin.
    pub reverse: Mapping,
    /// The schemas that are searched behind pg_catalog where the expressions are run: those of
    /// operators that their texts do not name.
    pub path: Vec<Ident>,
}

/// The columns of both tables.
fn columns(sides: &Sides<'_>) -> Result<(Vec<Column>, Vec<Column>)> {
    let _us = Identity::extension()?;
    Ok((catalog::columns(sides.origin)?, catalog::columns(sides.shadow)?))
}

/// The names of corresponding columns: origin, shadow.
pub(crate) fn pairs(sides: &Sides<'_>) -> Result<Vec<(Ident, Ident)>> {
    let (origin, shadow) = columns(sides)?;
    let pairs = pair(&origin, &shadow, sides.by_hand);
    Ok(pairs.iter().map(|(o, s)| (o.name.clone(), s.name.clone())).collect())
}

/// Decides both mappings, or refuses by the column's name. Names in expressions are resolved as the
/// caller sees them, so it runs with the caller's search_path.
pub(crate) fn decide(sides: &Sides<'_>) -> Result<Mappings> {
    let before = sides.reasons.count();
    let (origin, shadow) = columns(sides)?;
    let pairs = pair(&origin, &shadow, sides.by_hand);
    check_names(sides, sides.forward, &shadow, "forward")?;
    check_names(sides, sides.reverse, &origin, "reverse")?;
    let halves = |search| halves(sides, &pairs, (&origin, &shadow), search);
    let path = unnamed_schemas(&halves(Search::Unknown)?)?;
    let (forward, mut reverse) = halves(Search::Then(&path))?;
    refuse_lossy(sides, &pairs, &forward, &reverse)?;
    refuse_without_value(sides, &forward)?;
    let (origin_key, shadow_key) = keys(sides, &forward, &reverse)?;
    if sides.reasons.count() > before {
        sides.reasons.require_none()?;
    }
    let search = Search::Then(&path);
    exact::raise_where_cut(sides, &mut reverse, (&origin_key, &shadow_key), search)?;
    let (origin_deferrable, shadow_deferrable, to_origin, to_shadow) = {
        let _us = Identity::extension()?;
        (
            deferrable(sides.origin)?,
            deferrable(sides.shadow)?,
            is_only_arbiter(sides.origin, &origin_key)?,
            is_only_arbiter(sides.shadow, &shadow_key)?,
        )
    };
    let alike = {
        let _us = Identity::extension()?;
        generated::alike(sides.origin, sides.shadow, &pairs)?
    };
    let there = alike.iter().filter(|a| a.uses.iter().all(|(o, s)| as_it_is(&forward, *s, *o)));
    let there: Vec<_> = there.map(|a| stored(&a.origin, &a.shadow)).collect();
    let back = alike.iter().filter(|a| a.uses.iter().all(|(o, s)| as_it_is(&reverse, *o, *s)));
    let back: Vec<_> = back.map(|a| stored(&a.shadow, &a.origin)).collect();
    let searches = !path.is_empty();
    let keys = (&origin_key, &shadow_key);
    let mut forward = finish(forward, &origin, keys, &shadow_deferrable, searches)?;
    let keys = (&shadow_key, &origin_key);
    let mut reverse = finish(reverse, &shadow, keys, &origin_deferrable, searches)?;
    forward.upsert &= to_shadow;
    reverse.upsert &= to_origin;
    forward.columns.extend(there);
    reverse.columns.extend(back);
    Ok(Mappings { forward, reverse, path })
}

/// The written column is the read one and nothing else.
fn as_it_is(half: &OneWay, written: i16, read: i16) -> bool {
    let mut mapped = half.mapped.iter();
    mapped.any(|m| m.column.attnum == written && m.expression.is_column == Some(read))
}

/// A generated column whose stored value is taken over.
fn stored(read: &Ident, written: &Ident) -> MappedColumn {
    MappedColumn {
        column: written.clone(),
        expression: read.to_string(),
        from: Some(read.clone()),
        reads: Some(vec![read.clone()]),
        tree: None,
        volatile: false,
        stored: true,
    }
}

/// Both directions, as they are read where `search` says.
fn halves(
    sides: &Sides<'_>,
    pairs: &[(&Column, &Column)],
    (origin, shadow): (&[Column], &[Column]),
    search: Search<'_>,
) -> Result<(OneWay, OneWay)> {
    let reads = (sides.origin, sides.forward);
    let forward = half(sides, shadow, reads, search, |target| {
        let from = pairs.iter().find(|(_, s)| s.attnum == target.attnum).map(|(o, _)| *o);
        match from {
            None => Ok(None),
            Some(from) => forward_default(sides, from, target, origin, search).map(Some),
        }
    })?;
    let reads = (sides.shadow, sides.reverse);
    let reverse = half(sides, origin, reads, search, |target| {
        let from = pairs.iter().find(|(o, _)| o.attnum == target.attnum).map(|(_, s)| *s);
        match from {
            None => Ok(None),
            Some(from) => {
                reverse_default(sides, from, target, search).map(|e| Some((e, How::Cast)))
            }
        }
    })?;
    Ok((forward, reverse))
}

/// The schemas of operators that the texts of the expressions do not name.
fn unnamed_schemas((forward, reverse): &(OneWay, OneWay)) -> Result<Vec<Ident>> {
    let all = forward.mapped.iter().chain(&reverse.mapped);
    let operators: Vec<OperatorId> = all.flat_map(|m| m.expression.unnamed.clone()).collect();
    let _us = Identity::extension()?;
    tree::schemas_of(&operators)
}

/// ON CONFLICT means every unique index on the key's columns, also one that takes more for equal.
fn is_only_arbiter(table: RelationId, key: &Key) -> Result<bool> {
    let same = |other: &Key| {
        other.columns.len() == key.columns.len()
            && key.columns.iter().all(|k| other.columns.iter().any(|o| o.attnum == k.attnum))
    };
    let as_fine = |other: &Key| {
        other.columns.iter().all(|o| {
            key.columns
                .iter()
                .any(|k| k.attnum == o.attnum && o.equality.is_as_fine_as(&k.equality))
        })
    };
    Ok(catalog::keys(table)?.iter().filter(|other| same(other)).all(as_fine))
}

/// Deferrable constraints with an index: name, and whether INITIALLY DEFERRED.
fn deferrable(table: RelationId) -> Result<Vec<(Ident, bool)>> {
    Ok(catalog::indexes(table)?
        .into_iter()
        .filter_map(|i| i.recorded.constraint)
        .filter(|c| c.deferrable)
        .map(|c| (c.name, c.deferred))
        .collect())
}

/// Columns that are the same: by name for a table made by hand; otherwise the copy's numbers are the
/// origin's columns in their order, whatever `changes` renamed, dropped or added.
fn pair<'a>(
    origin: &'a [Column],
    shadow: &'a [Column],
    by_hand: bool,
) -> Vec<(&'a Column, &'a Column)> {
    origin
        .iter()
        .enumerate()
        .filter_map(|(i, o)| {
            let s = shadow.iter().find(|s| {
                if by_hand {
                    s.name == o.name
                } else {
                    usize::from(s.attnum.unsigned_abs()) == i + 1
                }
            })?;
            Some((o, s))
        })
        .collect()
}

fn check_names(
    sides: &Sides<'_>,
    given: &Map<String, Value>,
    columns: &[Column],
    argument: &str,
) -> Result<()> {
    for (name, value) in given {
        if let Err(unfit) = check_entry(name, value, columns, argument) {
            sides.reasons.refuse_about(std::slice::from_ref(name), unfit)?;
        }
    }
    Ok(())
}

fn check_entry(name: &str, value: &Value, columns: &[Column], argument: &str) -> Result<()> {
    let side = if argument == "forward" { "new" } else { "old" };
    let Some(column) = columns.iter().find(|c| c.name.as_str() == name) else {
        return Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("{argument} names column {}, which the {side} table does not have", plain(name)),
        )
        .hint(format!("Use columns of the {side} table as the keys of {argument}, and expressions over the other one's columns as its values.")));
    };
    if !column.generated.is_empty() {
        return Err(Error::argument(format!(
            "{argument} names column {}, which is generated",
            plain(name)
        ))
        .hint("Leave it out: it is computed from its own row."));
    }
    if !value.is_string() {
        return Err(Error::argument(format!(
            "{argument} has no expression for column {}: its value is not a string",
            plain(name)
        ))
        .hint("Write {\"column\": \"expression\"}."));
    }
    Ok(())
}

/// One direction: `reads` are the table whose columns are read, and what is given for the columns.
fn half(
    sides: &Sides<'_>,
    columns: &[Column],
    (read, given): (RelationId, &Map<String, Value>),
    search: Search<'_>,
    default: impl Fn(&Column) -> Result<Option<(Expression, How)>>,
) -> Result<OneWay> {
    let mut half = OneWay { mapped: Vec::new(), side_only: Vec::new(), refused: Vec::new() };
    for column in columns {
        if !column.generated.is_empty() {
            continue;
        }
        let text = given.get(column.name.as_str()).and_then(Value::as_str);
        let mut about = text.map(parse::names).unwrap_or_default();
        about.push(column.name.as_str().to_owned());
        let found = sides.reasons.part_about(&about, || match text {
            Some(text) => {
                let to = target(column);
                let expression = parse::parse_mapping_as(text, read.into(), None, &to, search)?;
                Ok(Some((expression, How::Given)))
            }
            None => default(column),
        })?;
        let column = column.clone();
        match found {
            Some(Some((expression, how))) => {
                half.mapped.push(Mapped { column, expression, how });
            }
            Some(None) => half.side_only.push(column),
            None => half.refused.push(column.attnum),
        }
    }
    Ok(half)
}

/// A column that gets no value although it must have one.
fn refuse_without_value(sides: &Sides<'_>, forward: &OneWay) -> Result<()> {
    let without =
        |column: &&Column| column.not_null && !column.has_default && column.identity.is_empty();
    for column in forward.side_only.iter().filter(without) {
        let name = column.name.as_str();
        let error = Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
            format!(
                "column {} of the new table is NOT NULL and has neither a default nor a value from the old table",
                plain(name)
            ),
        )
        .hint(format!("Give it a DEFAULT, or an expression: forward => '{{\"{name}\": \"…\"}}'."));
        sides.reasons.refuse_about(&[name.to_owned()], error)?;
    }
    Ok(())
}

fn forward_default(
    sides: &Sides<'_>,
    from: &Column,
    to: &Column,
    origin: &[Column],
    search: Search<'_>,
) -> Result<(Expression, How)> {
    if let Some((using, names)) = using(sides.changes, from, origin) {
        let read = sides.origin.into();
        let expression = parse::parse_mapping_as(&using, read, Some(&names), &target(to), search)?;
        let text = format!("CAST({} AS {})", from.name, to.type_sql);
        let cast = xact::subtransaction(|| {
            parse::parse_mapping_as(&text, read, None, &target(to), search)
        });
        let only_a_cast = cast.is_ok_and(|cast| cast.sql == expression.sql);
        let how = if only_a_cast { How::Cast } else { How::Using };
        return Ok((expression, how));
    }
    let cast = parse::cast_expression(sides.origin.into(), from.attnum, &target(to), search)?;
    cast.map(|e| (e, How::Cast)).ok_or_else(|| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column {} of type {} cannot become type {} by an assignment",
                plain(from.name.as_str()),
                from.type_sql,
                to.type_sql
            ),
        )
        .hint(format!(
            "Say how: USING in changes, or forward => '{{\"{}\": \"expression\"}}'.",
            to.name.as_str()
        ))
    })
}

/// The USING expression of the change that gives the column its type, and the names that the
/// origin's columns have when it is read.
fn using(
    changes: &[Change],
    from: &Column,
    origin: &[Column],
) -> Option<(String, Vec<(i16, String)>)> {
    let mut names: Vec<(i16, String)> =
        origin.iter().map(|c| (c.attnum, c.name.as_str().to_owned())).collect();
    for change in changes {
        match change {
            Change::RenameColumn { from: old, to } => {
                if let Some(entry) = names.iter_mut().find(|(_, n)| n == old) {
                    entry.1.clone_from(to);
                }
            }
            Change::Alter { action: Action::DropColumn { column, .. }, .. } => {
                if let Some(entry) = names.iter_mut().find(|(_, n)| n == column) {
                    entry.1.clear();
                }
            }
            Change::Alter { action: Action::AlterType { column, using: Some(text) }, .. } => {
                if names.iter().any(|(number, n)| *number == from.attnum && n == column) {
                    return Some((text.clone(), names));
                }
            }
            Change::Alter { .. } | Change::RenameConstraint { .. } => {}
        }
    }
    None
}

fn reverse_default(
    sides: &Sides<'_>,
    from: &Column,
    to: &Column,
    search: Search<'_>,
) -> Result<Expression> {
    let read = sides.shadow.into();
    if let Some(cast) = parse::cast_expression(read, from.attnum, &target(to), search)? {
        return Ok(cast);
    }
    // The way back of a change with USING is often a cast that must be written: text to integer.
    let text = format!("CAST({} AS {})", from.name, to.type_sql);
    let parsed =
        xact::subtransaction(|| parse::parse_mapping_as(&text, read, None, &target(to), search));
    match parsed {
        Ok(expression) => Ok(expression),
        Err(caught) if xact::sqlstate(caught.error.code).starts_with("42") => Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column {} of type {} cannot go back to type {}, so a revert would lose its changes",
                plain(from.name.as_str()),
                from.type_sql,
                to.type_sql
            ),
        )
        .hint(format!(
            "Say how: reverse => '{{\"{}\": \"expression\"}}'.",
            to.name.as_str()
        ))),
        Err(caught) => caught.raise(),
    }
}

/// A value that was computed on the way there and would only be cast on the way back: a revert would
/// put something else into the old column.
fn refuse_lossy(
    sides: &Sides<'_>,
    pairs: &[(&Column, &Column)],
    forward: &OneWay,
    reverse: &OneWay,
) -> Result<()> {
    let how = |half: &OneWay, column: &Column| {
        half.mapped.iter().find(|m| m.column.attnum == column.attnum).map(|m| m.how)
    };
    for (origin, shadow) in pairs {
        let computed = matches!(how(forward, shadow), Some(How::Using | How::Given));
        if computed && how(reverse, origin) == Some(How::Cast) {
            let name = origin.name.as_str();
            let error = Error::argument(format!(
                "column {} gets its new values from an expression, and nothing says how they go back on a revert",
                plain(name)
            ))
            .hint(format!("Say how: reverse => '{{\"{name}\": \"expression\"}}'."));
            sides.reasons.refuse(error)?;
        }
    }
    Ok(())
}

/// A key of the origin and one of the shadow, each of which follows from the other alone.
fn keys(sides: &Sides<'_>, forward: &OneWay, reverse: &OneWay) -> Result<(Key, Key)> {
    let (mut origin_keys, mut shadow_keys) = {
        let _us = Identity::extension()?;
        (catalog::keys(sides.origin)?, catalog::keys(sides.shadow)?)
    };
    // Others would mean rows by our comparisons that the index tells apart.
    origin_keys.retain(Key::is_compared_alike);
    shadow_keys.retain(Key::is_compared_alike);
    let wanted = |key: &&Key| match sides.key {
        None => true,
        Some(names) => {
            names.len() == key.columns.len()
                && key.names().all(|n| names.iter().any(|w| w == n.as_str()))
        }
    };
    let candidates: Vec<&Key> = origin_keys.iter().filter(wanted).collect();
    let Some(first) = candidates.first() else { return Err(no_key(sides)) };
    // A key of which nothing is known fits, or does not, when that is corrected.
    let is_unknown = |half: &OneWay, key: &Key| {
        key.columns.iter().any(|k| {
            half.refused.contains(&k.attnum) || sides.reasons.is_unsettled(k.name.as_str())
        })
    };
    if sides.reasons.is_unsettled(A_KEY)
        || candidates.iter().any(|key| is_unknown(reverse, key))
        || shadow_keys.iter().any(|key| is_unknown(forward, key))
    {
        sides.reasons.require_none()?;
    }
    let mut refused = None;
    for origin in &candidates {
        for shadow in &shadow_keys {
            if follows(shadow, origin, forward) && follows(origin, shadow, reverse) {
                match exact::require(shadow, forward, origin, reverse) {
                    Ok(()) => return Ok(((*origin).clone(), shadow.clone())),
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let column = first.names().map(|n| plain(n.as_str())).collect::<Vec<_>>().join(", ");
    Err(Error::state(format!(
        "key column {column} has no unique counterpart in the new table from which it can be computed back"
    ))
    .hint("Keep the key's columns and a unique key on them in the new table (drop the key in a later change), or name another unique key of the table with key => ARRAY['column'].")
    .detail(format!(
        "Unique keys of the new table: {}.",
        shadow_keys.iter().map(|k| k.index.clone()).collect::<Vec<_>>().join(", ")
    )))
}

fn no_key(sides: &Sides<'_>) -> Error {
    let error = Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        match sides.key {
            None => format!("{} has no key by which its rows could be followed", sides.name),
            Some(names) => format!(
                "{} has no unique index on exactly ({}) with all columns NOT NULL",
                sides.name,
                names.join(", ")
            ),
        },
    );
    error.hint("Add a primary key, or CREATE UNIQUE INDEX CONCURRENTLY on NOT NULL columns, without WHERE and without expressions; then run bg_prepare again.")
}

/// Every column of `key` is computed from the columns of `from` alone, and always to the same value.
fn follows(key: &Key, from: &Key, half: &OneWay) -> bool {
    key.columns.iter().all(|k| {
        half.mapped.iter().any(|m| {
            let read = &m.expression.columns;
            m.column.attnum == k.attnum
                && !read.is_empty()
                && m.expression.volatility != Volatility::Volatile
                && read.iter().all(|n| from.columns.iter().any(|f| f.attnum == *n))
        })
    })
}

/// `searches`: other schemas than pg_catalog are searched when the expressions are run.
fn finish(
    half: OneWay,
    read: &[Column],
    (from, to): (&Key, &Key),
    deferrable: &[(Ident, bool)],
    searches: bool,
) -> Result<Mapping> {
    let key_expressions = to
        .columns
        .iter()
        .map(|k| {
            half.mapped
                .iter()
                .find(|m| m.column.attnum == k.attnum)
                .map(|m| m.expression.sql.clone())
                .ok_or_else(|| Error::internal("a key column lost its expression"))
        })
        .collect::<Result<Vec<_>>>()?;
    let exact = half.mapped.iter().all(|m| {
        let is_key = to.columns.iter().any(|k| k.attnum == m.column.attnum);
        !is_key || m.expression.way != Way::Computed
    });
    let in_key = |c: &Column| to.columns.iter().any(|k| k.attnum == c.attnum);
    // ON CONFLICT DO UPDATE cannot set a GENERATED ALWAYS identity, nor use a deferrable key.
    let upsert = !to.deferrable
        && !half.mapped.iter().any(|m| m.column.identity == "a" && !in_key(&m.column));
    let fixed = half
        .mapped
        .iter()
        .filter(|m| m.column.identity == "a")
        .map(|m| m.column.name.clone())
        .collect();
    let column_read =
        |number: i16| read.iter().find(|c| c.attnum == number).map(|c| c.name.clone());
    Ok(Mapping {
        fixed,
        columns: half
            .mapped
            .into_iter()
            .map(|m| MappedColumn {
                column: m.column.name,
                from: m.expression.is_column.and_then(column_read),
                reads: m.expression.columns.iter().map(|number| column_read(*number)).collect(),
                tree: Some(m.expression.tree).filter(|_| searches),
                volatile: m.expression.volatility != Volatility::Immutable,
                expression: m.expression.sql,
                stored: false,
            })
            .collect(),
        side_only: half.side_only.into_iter().map(|c| c.name).collect(),
        from_key: from.clone(),
        to_key: to.clone(),
        key_expressions,
        exact,
        to_deferrable: !deferrable.is_empty(),
        to_deferred: deferrable.iter().filter(|(_, d)| *d).map(|(n, _)| n.clone()).collect(),
        upsert,
    })
}
