//! What prepare decides for a member.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::Dependents;
use crate::model::key::Equality;
use crate::model::mapping::Mapping;
use crate::model::version::StateVersion;
use crate::oid::RelationId;

/// The arguments of bg_prepare, to recognise the same call again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arguments {
    /// `changes`, verbatim.
    pub changes: String,
    /// `target` as it was called at prepare.
    pub target: Option<QualifiedName>,
    /// `forward`.
    pub forward: serde_json::Map<String, serde_json::Value>,
    /// `reverse`.
    pub reverse: serde_json::Map<String, serde_json::Value>,
    /// `key`.
    pub key: Option<Vec<String>>,
}

/// An index of the shadow, dropped for the copy and built again from the server's deparse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedIndex {
    /// Its name.
    pub name: Ident,
    /// `pg_get_indexdef`.
    pub definition: String,
    /// Its access method.
    #[serde(default)]
    pub method: String,
    /// Tablespace, when not the database's default.
    pub tablespace: Option<Ident>,
    /// The constraint it implements.
    pub constraint: Option<RecordedConstraint>,
    /// Its comment.
    pub comment: Option<String>,
    /// Statistics targets of its expression columns: (column number, target).
    #[serde(default)]
    pub statistics: Vec<(i16, i32)>,
    /// What its text means.
    #[serde(default)]
    pub meaning: Meaning,
}

/// What a recorded text means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meaning {
    /// The schemas that are searched when it is read, behind pg_catalog: those of operators that it
    /// does not name.
    #[serde(default)]
    pub path: Vec<Ident>,
    /// Its trees as they are written down.
    #[serde(default)]
    pub tree: Option<String>,
}

/// A constraint as PostgreSQL deparses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedConstraint {
    /// Its name.
    pub name: Ident,
    /// `c`, `p`, `u` or `x`.
    pub kind: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub deferred: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// What its text means; of a constraint with an index the index says it.
    #[serde(default)]
    pub meaning: Meaning,
}

/// Sequences of a column that both sides have. The live object stays with the live table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SequencePair {
    /// The column of the origin.
    pub origin_column: Ident,
    /// The column of the shadow.
    pub shadow_column: Ident,
    /// The origin's sequence at prepare: the live object, always.
    pub live: RelationId,
    /// The shadow's own sequence, if it has one.
    pub spare: Option<RelationId>,
    /// `i` identity or `a` serial, on the origin.
    pub origin_kind: char,
    /// The same on the shadow.
    pub shadow_kind: char,
    /// The options that belong to the shadow's column type, as `AS … MINVALUE …`; NULL if the same.
    pub shadow_options: Option<String>,
    /// The same for the origin.
    pub origin_options: Option<String>,
    /// Default of a hand-made target's column before it was pointed to the live sequence.
    pub given_default: Option<String>,
}

/// What prepare decided. Changed only when prepare is called again to bring blue up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The form in which prepare wrote it. What an earlier one lacks stays away: it cannot be made up.
    #[serde(default = "StateVersion::unnumbered")]
    pub version: StateVersion,
    /// Origin to shadow.
    pub forward: Mapping,
    /// Shadow to origin.
    pub reverse: Mapping,
    /// Indexes to build on the shadow.
    pub indexes: Vec<RecordedIndex>,
    /// Constraints that go on at the end, NOT VALID, as they were.
    pub not_valid: Vec<RecordedConstraint>,
    /// Columns that are the same on both sides: origin, shadow.
    pub pairs: Vec<(Ident, Ident)>,
    /// Schema and name of a hand-made target, to give it back.
    pub target: Option<QualifiedName>,
    /// Access rights of a hand-made target before it became blue: (attnum, 0 for the table; rights).
    pub given_rights: Vec<(i16, Option<String>)>,
    /// Sequences that the sides swap.
    pub sequences: Vec<SequencePair>,
    /// `autovacuum_enabled` of the shadow before it was switched off, if it was set.
    pub autovacuum_enabled: Option<String>,
    /// Settings of prepare that expressions depend on.
    pub session: BTreeMap<String, String>,
    /// What hangs on the table and goes with it.
    #[serde(default)]
    pub dependents: Dependents,
    /// The properties that the shadow is to have when it is finished, part by part; NULL where an earlier
    /// version prepared it.
    #[serde(default)]
    pub meant: serde_json::Value,
}

impl Plan {
    /// What a plan in another form has of this one, so that the two can be compared.
    #[must_use]
    pub(crate) fn in_form(mut self, version: StateVersion) -> Self {
        for mapping in [&mut self.forward, &mut self.reverse] {
            // It follows from the expression, and not every plan of any form has it.
            mapping.columns.iter_mut().for_each(|column| column.reads = None);
        }
        if version > StateVersion::FIRST {
            return self;
        }
        for mapping in [&mut self.forward, &mut self.reverse] {
            // Generated columns were always computed anew.
            mapping.columns.retain(|column| !column.stored);
            mapping.columns.iter_mut().for_each(|column| column.tree = None);
            mapping.exact = false;
            for key in [&mut mapping.from_key, &mut mapping.to_key] {
                key.columns.iter_mut().for_each(|column| column.equality = Equality::default());
            }
        }
        for index in &mut self.indexes {
            index.meaning = Meaning::default();
            if let Some(constraint) = &mut index.constraint {
                constraint.meaning = Meaning::default();
            }
        }
        self.not_valid.iter_mut().for_each(|constraint| constraint.meaning = Meaning::default());
        self
    }
}
