//! Statements that move rows from one side to the other: copy, purge, sync.
//!
//! Rows of keys are read by name (`pg::transient_relation`), with column names that no table of a user has, so
//! that the mapping's expressions, which name the read table's columns bare, stay unambiguous.

use crate::ddl::lookup::{self, PLACE};
use crate::ddl::picture::Picture;
use crate::ident::{Ident, QualifiedName, list};
use crate::model::key::Key;
use crate::model::mapping::Mapping;
use crate::oid::{BlockNumber, LineNumber};

/// The keys to bring in step: what became of each, and where blue's row under it goes.
pub(crate) const WORK: &str = "bluegreen_work";
/// Rows of blue that were taken out and come back.
pub(crate) const KEPT: &str = "bluegreen_kept";
/// Keys in blue's terms.
pub(crate) const KEYS: &str = "bluegreen_keys";

/// Versions of rows of the read table, with its columns' names.
pub(crate) const VERSIONS: &str = "bluegreen_versions";

/// Name of the column that says what became of a key.
pub(crate) const KIND: &str = "bluegreen.kind";

/// Name of the column that numbers the keys of a batch.
pub(crate) const ID: &str = "bluegreen.id";

/// Name of the column with the number of the key to which blue's row goes.
pub(crate) const GOES_ID: &str = "bluegreen.goes_id";

/// The column of a key of the batch, column `i` of it, from 0.
pub(crate) fn batch_key(i: usize) -> String {
    format!("bluegreen.k{}", i + 1)
}

/// The column of the key to which blue's row under the batch's key goes; NULL if it is thrown away.
pub(crate) fn goes_key(i: usize) -> String {
    format!("bluegreen.g{}", i + 1)
}

/// The column of a key in blue's terms, number `i`, from 0.
pub(crate) fn mapped_name(i: usize) -> String {
    format!("bluegreen.b{}", i + 1)
}

fn mapped_column(i: usize) -> Ident {
    Ident::new(mapped_name(i))
}

/// The value that a version has in column `i` of those that only the written table has, from 0.
pub(crate) fn side_column(i: usize) -> String {
    format!("bluegreen.s{}", i + 1)
}

/// Column `i` of a row of blue that was taken out, from 0.
fn kept_column(i: usize) -> Ident {
    Ident::new(format!("bluegreen.c{}", i + 1))
}

const SKIP: &str = " ON CONFLICT DO NOTHING";

/// What a row does that collides with one that blue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Overwrites the row of the same key; any other collision is an error.
    Update,
    /// Stays out.
    Skip,
    /// Is an error.
    Fail,
}

impl Conflict {
    fn clause(self) -> &'static str {
        match self {
            Conflict::Skip => SKIP,
            Conflict::Update | Conflict::Fail => "",
        }
    }
}

/// One direction with the names of its two tables.
pub(crate) struct Rows<'a> {
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
    pub(super) fn join(
        key: &Key,
        table: &str,
        alias: &str,
        column: impl Fn(usize) -> Ident,
    ) -> String {
        key.columns
            .iter()
            .enumerate()
            .map(|(i, k)| format!("{table}.{} {} {alias}.{}", k.name, k.equals, column(i)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    fn key_join(&self, alias: &str, column: fn(usize) -> String) -> String {
        Self::join(&self.mapping.from_key, "g", alias, |i| Ident::new(column(i)))
    }

    /// Green's row, as `g`, for each row before it that holds its key in `alias.column(i)`.
    fn each_of_green(&self, alias: &str, column: fn(usize) -> String) -> String {
        lookup::each("g.*", self.from, "g", self.key_join(alias, column))
    }

    /// That green has no row under the key in `alias.column(i)`.
    fn none_of_green(&self, alias: &str, column: fn(usize) -> String) -> String {
        lookup::none(self.from, "g", self.key_join(alias, column))
    }

    /// `t.key = alias.b1 …`: blue's row under a key in blue's terms.
    fn blue_join(&self, alias: &str) -> String {
        Self::join(&self.mapping.to_key, "t", alias, mapped_column)
    }

    /// A subquery over rows that hold green's key in `column(i)`: all its columns, and the key in
    /// blue's terms as `bluegreen.b1` ….
    pub(super) fn with_mapped_key(&self, source: &str, column: fn(usize) -> String) -> String {
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
    pub(crate) fn copy(&self, from: BlockNumber, to: BlockNumber) -> String {
        format!(
            "{} AND g.ctid < '({to},0)'::pg_catalog.tid",
            self.copy_where(&format!("g.ctid >= '({from},0)'::pg_catalog.tid"))
        )
    }

    /// Copies the rows of one block whose line pointers are in `from..to`.
    pub(crate) fn copy_lines(
        &self,
        block: BlockNumber,
        from: LineNumber,
        to: LineNumber,
    ) -> String {
        self.copy_where(&format!(
            "g.ctid >= '({block},{from})'::pg_catalog.tid AND g.ctid < '({block},{to})'::pg_catalog.tid"
        ))
    }

    /// Reads all values of the rows of one block whose line pointers are in `from..to`.
    pub(crate) fn read_lines(
        &self,
        block: BlockNumber,
        from: LineNumber,
        to: LineNumber,
    ) -> String {
        format!(
            "SELECT pg_catalog.length(CAST((g.*) AS pg_catalog.text)) FROM ONLY {} AS g
              WHERE g.ctid >= '({block},{from})'::pg_catalog.tid AND g.ctid < '({block},{to})'::pg_catalog.tid",
            self.from
        )
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

    /// The key of the row at a line pointer of green, as text of a JSON object.
    pub(crate) fn describe_key_at(&self, block: BlockNumber, line: LineNumber) -> String {
        let key = self.mapping.from_key.columns.iter();
        let key = key.map(|column| (&column.name, format!("g.{}", column.name)));
        format!(
            "SELECT {} FROM ONLY {} AS g WHERE g.ctid = '({block},{line})'::pg_catalog.tid",
            Picture::Texts.key(key),
            self.from
        )
    }

    /// The key of the row at a line pointer of green.
    pub(crate) fn key_at(&self, block: BlockNumber, line: LineNumber) -> String {
        format!(
            "SELECT {} FROM ONLY {} AS g WHERE g.ctid = '({block},{line})'::pg_catalog.tid",
            list(self.mapping.from_key.names()),
            self.from
        )
    }

    /// The keys of [`WORK`] (`bluegreen.k…`) in blue's terms.
    pub(crate) fn map_keys(&self) -> String {
        let columns: Vec<_> = (0..self.mapping.key_expressions.len())
            .map(|i| format!("k.{}", mapped_column(i)))
            .collect();
        format!("SELECT {} FROM {} k", columns.join(", "), self.with_mapped_key(WORK, batch_key))
    }

    /// The same with the keys' numbers before them.
    pub(crate) fn map_numbered_keys(&self) -> String {
        let columns: Vec<_> = (0..self.mapping.key_expressions.len())
            .map(|i| format!("k.{}", mapped_column(i)))
            .collect();
        format!(
            "SELECT k.{}, {} FROM {} k",
            Ident::new(ID),
            columns.join(", "),
            self.with_mapped_key(WORK, batch_key)
        )
    }

    /// The numbers of keys of [`WORK`] that blue has, and the transactions that made its rows.
    pub(crate) fn made_by(&self) -> String {
        format!(
            "SELECT k.{}, t.xmin FROM {} k {}",
            Ident::new(ID),
            self.with_mapped_key(WORK, batch_key),
            lookup::each("t.xmin", self.to, "t", self.blue_join("k"))
        )
    }

    /// Writes a row for each of [`VERSIONS`]; `side` says that these have values of the columns that only
    /// blue has.
    pub(crate) fn write_versions(&self, side: bool) -> String {
        let only = self.mapping.side_only.iter().enumerate().filter(|_| side);
        let (names, values): (Vec<_>, Vec<_>) = only
            .map(|(i, c)| (format!(", {c}"), format!(", g.{}", Ident::new(side_column(i)))))
            .unzip();
        format!(
            "INSERT INTO {} ({}{}) OVERRIDING SYSTEM VALUE SELECT {}{} FROM {VERSIONS} AS g",
            self.to,
            self.columns(),
            names.concat(),
            self.expressions(),
            values.concat(),
        )
    }

    /// Deletes from blue's blocks `from..to` the rows whose key is in [`KEYS`].
    pub(crate) fn purge(&self, from: BlockNumber, to: BlockNumber) -> String {
        format!(
            "DELETE FROM ONLY {} AS t WHERE t.ctid >= '({from},0)'::pg_catalog.tid AND t.ctid < '({to},0)'::pg_catalog.tid AND EXISTS (SELECT FROM {KEYS} k WHERE {})",
            self.to,
            self.blue_join("k")
        )
    }

    /// Takes rows out of blue: what green no longer has; where only blue has some columns also what
    /// moves to another key and what is replaced by another row; with `replace` all that the batch
    /// names. Returns the rows, for [`Rows::put_back`].
    pub(crate) fn take_out(&self, replace: bool, all_columns: &[Ident]) -> String {
        let kind = Ident::new(KIND);
        let gone = format!("k.{kind} = 'g' AND {}", self.none_of_green("k", batch_key));
        let goes = Ident::new(GOES_ID);
        let which = if replace {
            "true".to_owned()
        } else if self.mapping.side_only.is_empty() {
            gone
        } else {
            format!(
                "k.{goes} <> k.{} OR (k.{goes} IS NULL AND k.{kind} <> 'g') OR ({gone})",
                Ident::new(ID)
            )
        };
        let returning: Vec<_> = all_columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("t.{c} AS {}", kept_column(i)))
            .chain((0..self.mapping.from_key.columns.len()).map(|i| {
                let name = Ident::new(goes_key(i));
                format!("k.{name}")
            }))
            .chain([format!("k.{goes}")])
            .collect();
        // Of two keys that are equal and not the same, the one whose row goes somewhere has it.
        let source =
            self.without_equals(&format!("w.{goes} IS NULL"), &format!("e.{goes} IS NOT NULL"));
        let place = Ident::new(PLACE);
        format!(
            "DELETE FROM ONLY {} AS t USING (SELECT k.*, t.{place} FROM {} k {} WHERE {which}) k WHERE t.ctid = k.{place} RETURNING k.{kind}, {}",
            self.to,
            self.with_mapped_key(&source, batch_key),
            lookup::each(format!("t.ctid AS {place}"), self.to, "t", self.blue_join("k")),
            returning.join(", "),
        )
    }

    /// The rows of [`WORK`] but those for which `giving` holds and that have an equal key there for which
    /// `taking` holds: a join, because the planner may run a subquery again for each row.
    fn without_equals(&self, giving: &str, taking: &str) -> String {
        let columns = self.mapping.from_key.columns.iter().enumerate();
        let equal: Vec<_> = columns
            .map(|(i, k)| {
                let name = Ident::new(batch_key(i));
                format!("e.{name} {} w.{name}", k.equals)
            })
            .collect();
        format!(
            "(SELECT w.* FROM {WORK} w LEFT JOIN {WORK} e ON {giving} AND {taking} AND {} WHERE e.{} IS NULL)",
            equal.join(" AND "),
            Ident::new(ID)
        )
    }

    /// The rows of [`WORK`] that have, or may have, a row to be written: a key that is gone gives way to one
    /// that is equal and is not.
    fn to_write(&self) -> String {
        let kind = Ident::new(KIND);
        self.without_equals(&format!("w.{kind} = 'g'"), &format!("e.{kind} <> 'g'"))
    }

    /// Writes green's present row for every key of the batch that has one; rows in [`KEPT`] are left
    /// to [`Rows::put_back`] when `kept`.
    ///
    /// Keys of the batch differ in their bytes but may be equal (1.0 and 1.00): one that is gone
    /// gives way to one that is not.
    pub(crate) fn write(&self, conflict: Conflict, kept: bool) -> String {
        let mut sql = format!(
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} w {} WHERE {}",
            self.to,
            self.columns(),
            self.expressions(),
            self.to_write(),
            self.each_of_green("w", batch_key),
            self.is_written(kept),
        );
        match conflict {
            Conflict::Update => sql.push_str(&self.on_conflict_update()),
            Conflict::Skip => sql.push_str(SKIP),
            Conflict::Fail => {}
        }
        sql
    }

    /// Which of [`Rows::to_write`] are written by [`Rows::write`]: not those that come from [`KEPT`].
    fn is_written(&self, kept: bool) -> String {
        let same = |alias: &str, column: fn(usize) -> String| {
            let columns = self.mapping.from_key.columns.iter().enumerate();
            let all: Vec<_> = columns
                .map(|(i, k)| {
                    let (theirs, ours) = (Ident::new(column(i)), Ident::new(batch_key(i)));
                    format!("{alias}.{theirs} {} w.{ours}", k.equals)
                })
                .collect();
            all.join(" AND ")
        };
        if kept {
            format!("NOT EXISTS (SELECT FROM {KEPT} k WHERE {})", same("k", goes_key))
        } else {
            "true".to_owned()
        }
    }

    /// The same in two steps, for a table with columns that green has no value for: INSERT … ON
    /// CONFLICT would check their NOT NULL before it sees that the row is there. First the rows that
    /// blue has are updated, then the others are inserted.
    pub(crate) fn update_then_insert(&self, kept: bool) -> [String; 2] {
        let written: Vec<_> = self
            .mapping
            .columns
            .iter()
            .filter(|c| !self.mapping.fixed.contains(&c.column))
            .collect();
        let value = |i: usize| Ident::new(format!("bluegreen.v{}", i + 1));
        let values =
            written.iter().enumerate().map(|(i, c)| format!("{} AS {}", c.expression, value(i)));
        let keys = self.mapping.key_expressions.iter().enumerate();
        let values: Vec<_> =
            values.chain(keys.map(|(i, e)| format!("{e} AS {}", mapped_column(i)))).collect();
        let sets: Vec<_> = written
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{} = s.{}", c.column, value(i)))
            .collect();
        let from = format!(
            "FROM {} w {} WHERE {}",
            self.to_write(),
            self.each_of_green("w", batch_key),
            self.is_written(kept)
        );
        let (same_key, place) = (self.blue_join("s"), Ident::new(PLACE));
        let inserted: Vec<_> = self
            .mapping
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{} AS {}", c.expression, value(i)))
            .chain(
                self.mapping
                    .key_expressions
                    .iter()
                    .enumerate()
                    .map(|(i, e)| format!("{e} AS {}", mapped_column(i))),
            )
            .collect();
        let names: Vec<_> =
            (0..self.mapping.columns.len()).map(|i| format!("s.{}", value(i))).collect();
        [
            format!(
                "UPDATE ONLY {} AS t SET {} FROM (SELECT s.*, t.{place} FROM (SELECT {} {from}) s {}) s WHERE t.ctid = s.{place}",
                self.to,
                sets.join(", "),
                values.join(", "),
                lookup::each(format!("t.ctid AS {place}"), self.to, "t", &same_key)
            ),
            format!(
                "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM (SELECT {} {from}) s WHERE {}",
                self.to,
                self.columns(),
                names.join(", "),
                inserted.join(", "),
                lookup::none(self.to, "t", &same_key)
            ),
        ]
    }

    fn on_conflict_update(&self) -> String {
        // The key's columns too: it may be equal and yet another value.
        let sets: Vec<_> = self
            .mapping
            .columns
            .iter()
            .filter(|c| !self.mapping.fixed.contains(&c.column))
            .map(|c| format!("{0} = EXCLUDED.{0}", c.column))
            .collect();
        let target = list(self.mapping.to_key.names());
        if sets.is_empty() {
            format!(" ON CONFLICT ({target}) DO NOTHING")
        } else {
            format!(" ON CONFLICT ({target}) DO UPDATE SET {}", sets.join(", "))
        }
    }

    /// Puts the rows of [`KEPT`] that go somewhere back with green's present values, under their
    /// present key, with their values of the columns that only blue has.
    pub(crate) fn put_back(&self, all_columns: &[Ident], conflict: Conflict) -> String {
        let kept: Vec<_> = self
            .mapping
            .side_only
            .iter()
            .filter_map(|c| all_columns.iter().position(|a| a == c))
            .map(|i| format!("k.{}", kept_column(i)))
            .collect();
        format!(
            "INSERT INTO {} ({}, {}) OVERRIDING SYSTEM VALUE SELECT {}, {} FROM {KEPT} k {}",
            self.to,
            self.columns(),
            list(&self.mapping.side_only),
            self.expressions(),
            kept.join(", "),
            self.each_of_green("k", goes_key),
        ) + conflict.clause()
    }

    /// Puts back those rows of [`KEPT`] that have moved on: green has no row under the key any more,
    /// a later event will say where it went. Only the key is new.
    pub(crate) fn put_back_in_transit(&self, all_columns: &[Ident], conflict: Conflict) -> String {
        let values: Vec<_> = all_columns
            .iter()
            .enumerate()
            .map(|(n, c)| match self.mapping.to_key.columns.iter().position(|k| &k.name == c) {
                Some(i) => format!("k.{}", mapped_column(i)),
                None => format!("k.{}", kept_column(n)),
            })
            .collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} k WHERE k.{} IS NOT NULL AND {}",
            self.to,
            list(all_columns),
            values.join(", "),
            self.with_mapped_key(
                &format!("(SELECT * FROM {KEPT} r WHERE r.{} IS NOT NULL)", Ident::new(GOES_ID)),
                goes_key
            ),
            Ident::new(GOES_ID),
            self.none_of_green("k", goes_key)
        ) + conflict.clause()
    }

    /// The numbers of keys of [`WORK`] that green has and blue has not.
    pub(crate) fn missing(&self) -> String {
        format!(
            "SELECT k.{} FROM {} k {} WHERE {}",
            Ident::new(ID),
            self.with_mapped_key(WORK, batch_key),
            self.each_of_green("k", batch_key),
            lookup::none(self.to, "t", self.blue_join("k"))
        )
    }

    /// Puts those rows of [`KEPT`] back as they were whose rows of green could not be written (their
    /// numbers are in `$1`): under their key, if green has no other row there, and where nothing stands
    /// in their way.
    pub(crate) fn restore(&self, all_columns: &[Ident]) -> String {
        let kept: Vec<_> =
            (0..all_columns.len()).map(|i| format!("k.{}", kept_column(i))).collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {KEPT} k WHERE k.{} IN ('s', 'g') AND k.{} = ANY ($1::int8[]){SKIP}",
            self.to,
            list(all_columns),
            kept.join(", "),
            Ident::new(KIND),
            Ident::new(GOES_ID)
        )
    }

    /// A row for each key of [`WORK`] that green has.
    pub(crate) fn present(&self) -> String {
        format!("SELECT 1 FROM {WORK} w {}", self.each_of_green("w", batch_key))
    }

    /// For each row of [`WORK`]: the key and green's row, for a misfit.
    pub(crate) fn describe(&self, picture: Picture) -> String {
        let key = self.mapping.from_key.columns.iter().enumerate();
        let key = key.map(|(i, k)| (&k.name, format!("w.{}", Ident::new(batch_key(i)))));
        format!(
            "SELECT {}, {} FROM {WORK} w {}",
            picture.key(key),
            picture.row("g"),
            lookup::each_or_none("g.*", self.from, "g", self.key_join("w", batch_key))
        )
    }
}
