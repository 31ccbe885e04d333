//! Statements that compare the two tables: read both whole, and look closely at single keys.
//!
//! Values are compared by their bytes (`*<>`), as the copy wrote them: every type has that, and a value
//! that is equal and yet another one counts as different.

use std::fmt::Display;

use crate::ddl::lookup;
use crate::ddl::rows::{Rows, WORK, batch_key, mapped_name};
use crate::ident::{Ident, QualifiedName, list, literal};
use crate::model::key::Key;
use crate::model::mapping::Mapping;
use crate::oid::BlockNumber;

/// Keys under which the tables differ, with what is wrong.
pub(crate) const PROBLEMS: &str = "bluegreen_problems";
/// Keys that wait in the log.
pub(crate) const LOGGED: &str = "bluegreen_logged";
/// The column of [`PROBLEMS`] with the key as JSON.
pub(crate) const KEY_TEXT: &str = "bluegreen.key";
/// The column of [`PROBLEMS`] that says what is wrong.
pub(crate) const PROBLEM: &str = "bluegreen.problem";

/// Green has the row, blue has not.
pub(crate) const MISSING: &str = "missing";
/// Blue has the row, green has not.
pub(crate) const EXTRA: &str = "extra";
/// Both have the row, with other values.
pub(crate) const DIFFERENT: &str = "different";

/// The types of a table's columns, as SQL, without those of virtual ones: no row has their values.
pub(crate) type Types = Vec<(Ident, String)>;

/// What is compared.
pub(crate) struct Compare<'a> {
    /// From green to blue.
    pub mapping: &'a Mapping,
    /// From blue to green.
    pub back: &'a Mapping,
    /// The live table.
    pub green: &'a QualifiedName,
    /// The offline table.
    pub blue: &'a QualifiedName,
    /// Blue's columns.
    pub blue_types: &'a Types,
    /// Green's columns.
    pub green_types: &'a Types,
    /// The tables have swapped their roles: a row that was written before is right if green's is
    /// what becomes of blue's, though the way back may not lead there.
    pub either_way: bool,
}

/// The columns that are compared: their names and the values that they ought to have.
fn values(mapping: &Mapping, types: &Types) -> Vec<(Ident, String)> {
    let compared = mapping.columns.iter().filter(|c| !c.volatile);
    compared
        .map(|c| {
            let cast = types.iter().find(|(name, _)| *name == c.column);
            let value = match cast {
                Some((_, sql)) => format!("CAST({} AS {sql})", c.expression),
                None => c.expression.clone(),
            };
            (c.column.clone(), value)
        })
        .collect()
}

/// `alias."prefix1", alias."prefix2" …`
fn numbered(alias: &str, prefix: &str, count: usize) -> String {
    let names = (1..=count).map(|i| format!("{alias}.{}", Ident::new(format!("{prefix}{i}"))));
    names.collect::<Vec<_>>().join(", ")
}

/// `value AS "prefix1", …`
fn named(prefix: &str, values: impl Iterator<Item = impl Display>) -> String {
    let all = values
        .enumerate()
        .map(|(i, value)| format!(", {value} AS {}", Ident::new(format!("{prefix}{}", i + 1))));
    all.collect()
}

/// The column of the key that a row of blue leads back to, number `i`, from 0.
fn home_name(i: usize) -> String {
    format!("bluegreen.h{}", i + 1)
}

fn joined(key: &Key, left: &str, prefix: &str, right: &str, name: fn(usize) -> String) -> String {
    let columns = key.columns.iter().enumerate();
    let all = columns.map(|(i, k)| {
        let column = Ident::new(format!("{prefix}{}", i + 1));
        format!("{left}.{column} {} {right}.{}", k.equals, Ident::new(name(i)))
    });
    all.collect::<Vec<_>>().join(" AND ")
}

/// `alias.key = w.name(0) …`
fn named_key(key: &Key, alias: &str, name: fn(usize) -> String) -> String {
    let columns = key.columns.iter().enumerate();
    let all =
        columns.map(|(i, k)| format!("{alias}.{} {} w.{}", k.name, k.equals, Ident::new(name(i))));
    all.collect::<Vec<_>>().join(" AND ")
}

impl Compare<'_> {
    /// What blue ought to have for the rows of green's blocks `from..to`, and their places.
    pub(crate) fn read_green(&self, from: BlockNumber, to: BlockNumber) -> String {
        let values = values(self.mapping, self.blue_types);
        let values: String = values.iter().map(|(_, value)| format!("{value}, ")).collect();
        let (green, within) = (self.green, within(from, to));
        format!("SELECT {values}r.ctid FROM ONLY {green} AS r WHERE {within}")
    }

    /// The columns of blue that are compared.
    pub(crate) fn compared(&self) -> impl Iterator<Item = &Ident> {
        self.mapping.columns.iter().filter(|c| !c.volatile).map(|c| &c.column)
    }

    /// How many those are.
    pub(crate) fn columns(&self) -> usize {
        self.compared().count()
    }

    /// For each of them the column of green that has the same value, stored and in the same type; None where
    /// one has to be computed.
    pub(crate) fn taken_as_they_are(&self) -> Option<Vec<Ident>> {
        let type_of = |types: &Types, column: &Ident| {
            types.iter().find(|(name, _)| name == column).map(|(_, sql)| sql.clone())
        };
        let compared = self.mapping.columns.iter().filter(|c| !c.volatile);
        compared
            .map(|c| {
                let from = c.from.as_ref()?;
                let types = (type_of(self.green_types, from), type_of(self.blue_types, &c.column));
                (types.0.is_some() && types.0 == types.1).then(|| from.clone())
            })
            .collect()
    }

    /// Green's keys at the places of `$1`.
    pub(crate) fn green_keys(&self) -> String {
        let keys = self.mapping.from_key.names().map(|name| format!("r.{name}"));
        at_places(&keys.collect::<Vec<_>>().join(", "), self.green)
    }

    /// The keys of blue's rows at the places of `$1`, in green's terms.
    pub(crate) fn blue_keys(&self) -> String {
        at_places(&self.back.key_expressions.join(", "), self.blue)
    }

    /// Green's keys in its blocks `from..to`.
    pub(crate) fn keys_of_blocks(&self, from: BlockNumber, to: BlockNumber) -> String {
        let keys = list(self.mapping.from_key.names());
        format!("SELECT {keys} FROM ONLY {} AS r WHERE {}", self.green, within(from, to))
    }

    /// Green's keys in its blocks `from..to` that do not come back to themselves: two of them may be one
    /// in blue, or another one after a revert.
    pub(crate) fn strays(&self, from: BlockNumber, to: BlockNumber) -> String {
        let count = self.mapping.from_key.columns.len();
        let names: Vec<_> = self.mapping.to_key.names().collect();
        let expressions = self.mapping.key_expressions.iter().zip(names);
        let there: String = expressions.map(|(e, name)| format!(", {e} AS {name}")).collect();
        let green = format!(
            "SELECT {}{there} FROM ONLY {} AS r WHERE {}",
            named("bluegreen.g", self.mapping.from_key.names()).trim_start_matches(", "),
            self.green,
            within(from, to)
        );
        let home = format!(
            "SELECT {}{} FROM ({green}) r",
            numbered("r", "bluegreen.g", count),
            named("bluegreen.h", self.back.key_expressions.iter())
        );
        format!(
            "SELECT {} FROM ({home}) s WHERE ({}) IS NOT TRUE",
            numbered("s", "bluegreen.g", count),
            joined(&self.mapping.from_key, "s", "bluegreen.g", "s", home_name)
        )
    }

    /// Those of the keys in [`WORK`] under which the tables differ, as rows of [`PROBLEMS`].
    pub(crate) fn differ(&self) -> String {
        let forward = values(self.mapping, self.blue_types);
        let back = if self.either_way { values(self.back, self.green_types) } else { Vec::new() };
        let key = self.mapping.from_key.columns.len();
        let green = format!(
            "true AS \"bluegreen.here\"{}{}{}",
            named("bluegreen.g", self.mapping.from_key.names()),
            named("bluegreen.v", forward.iter().map(|(_, value)| value)),
            named("bluegreen.o", back.iter().map(|(name, _)| name)),
        );
        let blue = format!(
            "true AS \"bluegreen.here\"{}{}",
            named("bluegreen.c", forward.iter().map(|(name, _)| name)),
            named("bluegreen.w", back.iter().map(|(_, value)| value))
                + &named("bluegreen.h", self.back.key_expressions.iter()),
        );
        let mut differ = differs("g", "bluegreen.v", "t", "bluegreen.c", forward.len());
        if self.either_way {
            differ.push_str(" AND ");
            differ.push_str(&differs("g", "bluegreen.o", "t", "bluegreen.w", back.len()));
        }
        // Two rows of green must not have become one: blue's leads back to one key only.
        let home = joined(&self.mapping.from_key, "g", "bluegreen.g", "t", home_name);
        let differ = format!("({differ} OR ({home}) IS NOT TRUE)");
        format!(
            "SELECT {}, {}, CASE WHEN t.\"bluegreen.here\" IS NULL THEN '{MISSING}' WHEN g.\"bluegreen.here\" IS NULL THEN '{EXTRA}' ELSE '{DIFFERENT}' END \
             FROM {} w {} {} \
             WHERE g.\"bluegreen.here\" IS DISTINCT FROM t.\"bluegreen.here\" OR (g.\"bluegreen.here\" AND t.\"bluegreen.here\" AND {differ})",
            numbered("w", "bluegreen.k", key),
            self.key_json("w"),
            self.with_mapped_key(),
            lookup::each_or_none(
                green,
                self.green,
                "g",
                named_key(&self.mapping.from_key, "g", batch_key)
            ),
            lookup::each_or_none(
                blue,
                self.blue,
                "t",
                named_key(&self.mapping.to_key, "t", mapped_name)
            ),
        )
    }

    /// The keys of [`WORK`] as rows of [`PROBLEMS`], whatever the tables have: what cannot be computed.
    pub(crate) fn all_differ(&self) -> String {
        let key = self.mapping.from_key.columns.len();
        let keys = numbered("w", "bluegreen.k", key);
        format!("SELECT {keys}, {}, '{DIFFERENT}'::text FROM {WORK} w", self.key_json("w"))
    }

    /// Those of [`PROBLEMS`] whose key is not in [`LOGGED`].
    pub(crate) fn not_logged(&self) -> String {
        format!(
            "SELECT p.* FROM {PROBLEMS} p WHERE NOT EXISTS (SELECT FROM {LOGGED} l WHERE {})",
            joined(&self.mapping.from_key, "l", "bluegreen.k", "p", batch_key)
        )
    }

    /// What [`PROBLEMS`] says, each key once: a row of green and one of blue may have led to it.
    pub(crate) fn found(&self) -> String {
        let (key, problem) = (Ident::new(KEY_TEXT), Ident::new(PROBLEM));
        format!("SELECT DISTINCT p.{key}, p.{problem} FROM {PROBLEMS} p ORDER BY 1")
    }

    /// Puts the keys of [`PROBLEMS`] into the log, at position `$1`.
    pub(crate) fn log_again(&self, log: &QualifiedName) -> String {
        let count = self.mapping.from_key.columns.len();
        let columns: Vec<_> = (1..=count).map(|i| format!("k{i}")).collect();
        format!(
            "INSERT INTO {log} (position, n, op, {}) SELECT $1, 0, CASE p.{} WHEN '{EXTRA}' THEN 'D' WHEN '{MISSING}' THEN 'I' ELSE 'U' END, {} FROM {PROBLEMS} p",
            columns.join(", "),
            Ident::new(PROBLEM),
            numbered("p", "bluegreen.k", count)
        )
    }

    fn with_mapped_key(&self) -> String {
        let rows = Rows { mapping: self.mapping, from: self.green, to: self.blue };
        rows.with_mapped_key(WORK, batch_key)
    }

    fn key_json(&self, alias: &str) -> String {
        let columns = self.mapping.from_key.columns.iter().enumerate();
        let parts = columns.map(|(i, k)| {
            format!("{}, {alias}.{}", literal(k.name.as_str()), Ident::new(batch_key(i)))
        });
        format!("pg_catalog.jsonb_build_object({})::text", parts.collect::<Vec<_>>().join(", "))
    }
}

fn differs(left: &str, own: &str, right: &str, other: &str, count: usize) -> String {
    if count == 0 {
        return "false".to_owned();
    }
    let (own, other) = (numbered(left, own, count), numbered(right, other, count));
    // Without the casts the parser would look for the operator of each column's type.
    format!(
        "ROW({own})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW({other})::pg_catalog.record"
    )
}

fn within(from: BlockNumber, to: BlockNumber) -> String {
    format!("r.ctid >= '({from},0)'::pg_catalog.tid AND r.ctid < '({to},0)'::pg_catalog.tid")
}

fn at_places(keys: &str, table: &QualifiedName) -> String {
    format!("SELECT {keys} FROM ONLY {table} AS r WHERE r.ctid = ANY ($1::pg_catalog.tid[])")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::MappedColumn;

    fn as_it_is(name: &str) -> MappedColumn {
        MappedColumn {
            column: Ident::new(name),
            expression: name.to_owned(),
            from: Some(Ident::new(name)),
            reads: None,
            tree: None,
            volatile: false,
            stored: false,
        }
    }

    fn types(columns: &[(&str, &str)]) -> Types {
        columns.iter().map(|(name, sql)| (Ident::new(*name), (*sql).to_owned())).collect()
    }

    #[test]
    fn a_column_that_green_does_not_store_in_blues_type_has_to_be_computed() {
        let columns = vec![as_it_is("id"), as_it_is("total")];
        let (mapping, back) = (Mapping { columns, ..Mapping::default() }, Mapping::default());
        let name = QualifiedName::new("public", "users");
        let blue_types = types(&[("id", "bigint"), ("total", "integer")]);
        let taken = |green: &[(&str, &str)]| {
            let compare = Compare {
                mapping: &mapping,
                back: &back,
                green: &name,
                blue: &name,
                blue_types: &blue_types,
                green_types: &types(green),
                either_way: false,
            };
            compare.taken_as_they_are()
        };
        let all = Some(vec![Ident::new("id"), Ident::new("total")]);
        assert_eq!(taken(&[("id", "bigint"), ("total", "integer"), ("other", "text")]), all);
        assert_eq!(taken(&[("id", "bigint"), ("total", "bigint")]), None);
        assert_eq!(taken(&[("id", "bigint")]), None);
    }
}
