//! Statements that move rows from one side to the other: copy, purge, sync.
//!
//! Rows of keys are read by name (`pg::work`), with column names that no table of a user has, so
//! that the mapping's expressions, which name the read table's columns bare, stay unambiguous.

use crate::ident::{Ident, QualifiedName, list};
use crate::model::key::Key;
use crate::model::mapping::Mapping;

/// The rows of keys to bring in step: kind, key in blue, key in green.
pub const WORK: &str = "bluegreen_work";
/// Rows of blue that were taken out and come back.
pub const KEPT: &str = "bluegreen_kept";
/// Keys in blue's terms.
pub const KEYS: &str = "bluegreen_keys";

/// Name of the column that says what became of a key.
pub const KIND: &str = "bluegreen.kind";

/// `g` gone, `f` fresh, `s` the same row, `m` moved here from another key.
pub const KEPT_KINDS: &str = "('m', 's')";

/// The column of blue's (old) key number `i`, from 0.
pub fn origin_column(i: usize) -> String {
    format!("bluegreen.o{}", i + 1)
}

/// The column of green's (present) key number `i`, from 0.
pub fn final_column(i: usize) -> String {
    format!("bluegreen.f{}", i + 1)
}

/// The column of a key in blue's terms, number `i`, from 0.
pub fn mapped_name(i: usize) -> String {
    format!("bluegreen.b{}", i + 1)
}

fn mapped_column(i: usize) -> Ident {
    Ident::new(mapped_name(i))
}

fn kept_column(column: &Ident) -> Ident {
    Ident::new(format!("bluegreen.c.{}", column.as_str()))
}

/// One direction with the names of its two tables.
pub struct Rows<'a> {
    /// The mapping.
    pub mapping: &'a Mapping,
    /// The table that is read.
    pub from: &'a QualifiedName,
    /// The table that is written.
    pub to: &'a QualifiedName,
}

impl Rows<'_> {
    fn columns(&self) -> String {
        list(self.mapping.columns.iter().map(|c| &c.column))
    }

    fn expressions(&self) -> String {
        let all: Vec<_> = self.mapping.columns.iter().map(|c| c.expression.as_str()).collect();
        all.join(", ")
    }

    /// `g.key = alias.prefix…` over all columns of a key.
    fn join(key: &Key, table: &str, alias: &str, column: impl Fn(usize) -> Ident) -> String {
        key.columns
            .iter()
            .enumerate()
            .map(|(i, k)| format!("{table}.{} {} {alias}.{}", k.name, k.equals, column(i)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    fn from_join(&self, alias: &str, column: fn(usize) -> String) -> String {
        Self::join(&self.mapping.from_key, "g", alias, |i| Ident::new(column(i)))
    }

    /// A subquery over rows that hold green's key in `column(i)`: all its columns, and the key in
    /// blue's terms as `bluegreen.b1` ….
    fn with_mapped_key(&self, source: &str, column: fn(usize) -> String) -> String {
        let names: Vec<_> = self
            .mapping
            .from_key
            .columns
            .iter()
            .enumerate()
            .map(|(i, k)| format!("r.{} AS {}", Ident::new(column(i)), k.name))
            .collect();
        let mapped: Vec<_> = self
            .mapping
            .key_expressions
            .iter()
            .enumerate()
            .map(|(i, e)| format!("{e} AS {}", mapped_column(i)))
            .collect();
        format!(
            "(SELECT *, {} FROM (SELECT r.*, {} FROM {source} r) s)",
            mapped.join(", "),
            names.join(", ")
        )
    }

    /// Copies the rows of green's blocks `from..to`.
    pub fn copy(&self, from: u32, to: u32) -> String {
        format!(
            "{} AND g.ctid < '({to},0)'::pg_catalog.tid",
            self.copy_where(&format!("g.ctid >= '({from},0)'::pg_catalog.tid"))
        )
    }

    /// Copies the rows of one block whose line pointers are in `from..to`.
    pub fn copy_lines(&self, block: u32, from: u32, to: u32) -> String {
        self.copy_where(&format!(
            "g.ctid >= '({block},{from})'::pg_catalog.tid AND g.ctid < '({block},{to})'::pg_catalog.tid"
        ))
    }

    fn copy_where(&self, condition: &str) -> String {
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ONLY {} AS g WHERE {condition}",
            self.to,
            self.columns(),
            self.expressions(),
            self.from,
        )
    }

    /// The key of the row at a line pointer of green.
    pub fn key_at(&self, block: u32, line: u32) -> String {
        format!(
            "SELECT {} FROM ONLY {} AS g WHERE g.ctid = '({block},{line})'::pg_catalog.tid",
            list(self.mapping.from_key.names()),
            self.from
        )
    }

    /// The keys of [`WORK`] (`bluegreen.o…`) in blue's terms.
    pub fn map_keys(&self) -> String {
        let columns: Vec<_> = (0..self.mapping.key_expressions.len())
            .map(|i| format!("k.{}", mapped_column(i)))
            .collect();
        format!(
            "SELECT {} FROM {} k",
            columns.join(", "),
            self.with_mapped_key(WORK, origin_column)
        )
    }

    /// Deletes from blue's blocks `from..to` the rows whose key is in [`KEYS`].
    pub fn purge(&self, from: u32, to: u32) -> String {
        format!(
            "DELETE FROM ONLY {} AS t WHERE t.ctid >= '({from},0)'::pg_catalog.tid AND t.ctid < '({to},0)'::pg_catalog.tid AND EXISTS (SELECT FROM {KEYS} k WHERE {})",
            self.to,
            Self::join(&self.mapping.to_key, "t", "k", mapped_column)
        )
    }

    /// Empties blue.
    pub fn empty(&self) -> String {
        format!("TRUNCATE TABLE ONLY {}", self.to)
    }

    /// Takes rows out of blue: what is gone or moved, and what begins anew; with `replace` all that
    /// the batch names. Returns the rows, for [`Rows::put_back`].
    pub fn take_out(&self, replace: bool, all_columns: &[Ident]) -> String {
        let gone = format!(
            "k.{kind} = 'g' AND NOT EXISTS (SELECT FROM ONLY {} AS g WHERE {})",
            self.from,
            self.from_join("k", final_column),
            kind = Ident::new(KIND)
        );
        let kinds = if replace {
            "('m', 's', 'f')"
        } else if self.mapping.side_only.is_empty() {
            "('m')"
        } else {
            "('m', 'f')"
        };
        let returning: Vec<_> = all_columns
            .iter()
            .map(|c| format!("t.{c} AS {}", kept_column(c)))
            .chain((0..self.mapping.from_key.columns.len()).map(|i| {
                let name = Ident::new(final_column(i));
                format!("k.{name}")
            }))
            .collect();
        format!(
            "DELETE FROM ONLY {} AS t USING {} k WHERE {} AND (k.{kind} IN {kinds} OR {gone}) RETURNING k.{kind}, {}",
            self.to,
            self.with_mapped_key(WORK, origin_column),
            Self::join(&self.mapping.to_key, "t", "k", mapped_column),
            returning.join(", "),
            kind = Ident::new(KIND)
        )
    }

    /// Writes green's present row for every key of the batch that has one; rows in [`KEPT`] are left
    /// to [`Rows::put_back`] when `kept`.
    pub fn write(&self, replace: bool, kept: bool) -> String {
        let mut sql = format!(
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ONLY {} AS g JOIN {WORK} w ON {}",
            self.to,
            self.columns(),
            self.expressions(),
            self.from,
            self.from_join("w", final_column),
        );
        if kept {
            let same = self
                .mapping
                .from_key
                .columns
                .iter()
                .enumerate()
                .map(|(i, k)| {
                    let name = Ident::new(final_column(i));
                    format!("k.{name} {} w.{name}", k.equals)
                })
                .collect::<Vec<_>>()
                .join(" AND ");
            sql.push_str(&format!(
                " WHERE NOT EXISTS (SELECT FROM {KEPT} k WHERE k.{} IN {KEPT_KINDS} AND {same})",
                Ident::new(KIND)
            ));
        }
        if !replace {
            sql.push_str(&self.on_conflict());
        }
        sql
    }

    fn on_conflict(&self) -> String {
        let key: Vec<_> = self.mapping.to_key.names().collect();
        let sets: Vec<_> = self
            .mapping
            .columns
            .iter()
            .filter(|c| !key.contains(&&c.column))
            .map(|c| format!("{0} = EXCLUDED.{0}", c.column))
            .collect();
        let target = list(self.mapping.to_key.names());
        if sets.is_empty() {
            format!(" ON CONFLICT ({target}) DO NOTHING")
        } else {
            format!(" ON CONFLICT ({target}) DO UPDATE SET {}", sets.join(", "))
        }
    }

    /// Puts the rows of [`KEPT`] back with green's present values, under their present key, with
    /// their values of the columns that only blue has.
    pub fn put_back(&self) -> String {
        let kept: Vec<_> =
            self.mapping.side_only.iter().map(|c| format!("k.{}", kept_column(c))).collect();
        format!(
            "INSERT INTO {} ({}, {}) OVERRIDING SYSTEM VALUE SELECT {}, {} FROM ONLY {} AS g JOIN {KEPT} k ON {} WHERE k.{} IN {KEPT_KINDS}",
            self.to,
            self.columns(),
            list(&self.mapping.side_only),
            self.expressions(),
            kept.join(", "),
            self.from,
            self.from_join("k", final_column),
            Ident::new(KIND)
        )
    }

    /// Puts back those rows of [`KEPT`] that have moved on: green has no row under the key any more,
    /// a later event will say where it went. Only the key is new.
    pub fn put_back_in_transit(&self, all_columns: &[Ident]) -> String {
        let values: Vec<_> = all_columns
            .iter()
            .map(|c| match self.mapping.to_key.columns.iter().position(|k| &k.name == c) {
                Some(i) => format!("k.{}", mapped_column(i)),
                None => format!("k.{}", kept_column(c)),
            })
            .collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} k WHERE k.{} IN {KEPT_KINDS} AND NOT EXISTS (SELECT FROM ONLY {} AS g WHERE {})",
            self.to,
            list(all_columns),
            values.join(", "),
            self.with_mapped_key(KEPT, final_column),
            Ident::new(KIND),
            self.from,
            self.from_join("k", final_column)
        )
    }

    /// Puts the rows of [`KEPT`] back as they were.
    pub fn restore(&self, all_columns: &[Ident]) -> String {
        let kept: Vec<_> = all_columns.iter().map(|c| format!("k.{}", kept_column(c))).collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {KEPT} k",
            self.to,
            list(all_columns),
            kept.join(", ")
        )
    }

    /// A row for each key of [`WORK`] that green has.
    pub fn present(&self) -> String {
        format!(
            "SELECT 1 FROM {WORK} w JOIN ONLY {} AS g ON {}",
            self.from,
            self.from_join("w", final_column)
        )
    }

    /// Deletes from green the rows whose keys are in [`WORK`] (`bluegreen.o…`).
    pub fn leave_behind(&self) -> String {
        format!(
            "DELETE FROM ONLY {} AS g USING {WORK} w WHERE {}",
            self.from,
            self.from_join("w", origin_column)
        )
    }

    /// For each row of [`WORK`]: the key and green's row as JSON, for a misfit.
    pub fn describe(&self) -> String {
        let key: Vec<_> = self
            .mapping
            .from_key
            .columns
            .iter()
            .enumerate()
            .map(|(i, k)| {
                let name = crate::ident::literal(k.name.as_str());
                format!("{name}, w.{}", Ident::new(final_column(i)))
            })
            .collect();
        format!(
            "SELECT pg_catalog.jsonb_build_object({})::text, pg_catalog.to_jsonb(g.*)::text FROM {WORK} w LEFT JOIN ONLY {} AS g ON {}",
            key.join(", "),
            self.from,
            self.from_join("w", final_column)
        )
    }
}
