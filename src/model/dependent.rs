//! What hangs on a table, as prepare recorded it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ident::{Ident, QualifiedName};
use crate::oid::{ObjectAddress, ObjectId, RelationId};

/// Everything that hangs on the table and goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dependents {
    /// The schemas that views and functions of the table live in, the table's own first.
    pub schemas: Vec<Ident>,
    /// What is made a second time over the shadow, in the order in which it can be made.
    pub copies: Vec<Replica>,
    /// What other objects say about the table, said again in the swap.
    pub moves: Vec<ReattachedObject>,
    /// Marks of the shadow that need its indexes.
    pub marks: Vec<String>,
}

impl Dependents {
    /// The names of foreign keys that the changes add, in their order: nothing is said while the origin is live.
    pub(crate) fn added_foreign_keys(&self) -> impl Iterator<Item = &Ident> {
        let added = self.moves.iter().filter(|m| m.part.is_none() && m.origin.on.is_empty());
        added.filter_map(|m| m.names.1.as_ref())
    }
}

/// Kinds of objects that are made a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DependentKind {
    /// A function with the table's row type in its signature, or with a parsed body.
    Function,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A trigger of the table or of one of its views.
    Trigger,
    /// A rule of the table or of one of its views.
    Rule,
    /// A row security policy of the table.
    Policy,
}

impl DependentKind {
    /// It lives in a schema and is swapped with its copy by SET SCHEMA.
    pub(crate) fn lives_in_schema(self) -> bool {
        matches!(self, Self::Function | Self::View | Self::MaterializedView)
    }

    /// In words.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
            Self::Policy => "policy",
        }
    }
}

/// What a definition depends on. Views and functions of the table, and the table, stand there with the OIDs
/// of the origin's side.
pub(crate) type Uses = BTreeSet<ObjectAddress>;

/// An object that is made a second time over the shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    /// What it is.
    pub kind: DependentKind,
    /// Its name.
    pub name: Ident,
    /// The name in messages.
    pub title: String,
    /// The schema of a twin; none for a part of a relation.
    pub schema: Option<Ident>,
    /// The original, the origin's.
    pub origin: ObjectId,
    /// The relation that a trigger, rule or policy is a part of, on the origin's side.
    pub parent: RelationId,
    /// `tgenabled` or `ev_enabled`.
    pub enabled: char,
    /// A materialized view that has data.
    pub populated: bool,
    /// What the copy depends on, by catalog and OID; those of the family by their originals.
    pub uses: Uses,
    /// What makes it, with the names that the search_path of building resolves. None where the
    /// changes drop it with CASCADE.
    pub statements: Option<Vec<String>>,
    /// Schemas that are searched last when it is deparsed and made: those of operators that its text
    /// does not name.
    #[serde(default)]
    pub path: Vec<Ident>,
    /// Its trees over the shadow; only of a rule of the table.
    #[serde(default)]
    pub tree: Option<String>,
}

/// What another object says about the table: taken off before the tables change places, put on
/// after it, with the names of the live table in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReattachedObject {
    /// What it is, for messages: `foreign key orders_user_id_fkey of public.orders`.
    pub title: String,
    /// The other table, which the swap locks.
    pub table: Option<QualifiedName>,
    /// While the origin is live.
    pub origin: DetachAttach,
    /// While the shadow is live; none where the changes drop it with CASCADE.
    pub shadow: Option<DetachAttach>,
    /// The table whose constraint is to be validated once it is on again.
    pub validate: Option<QualifiedName>,
    /// The policy or rule that is made or changed: its kind, the table that has it.
    pub part: Option<(DependentKind, QualifiedName)>,
    /// The object's names: while the origin is live, while the shadow is.
    pub names: (Ident, Option<Ident>),
    /// Schemas that are searched last when it is said: those of operators that its text does not name.
    #[serde(default)]
    pub path: Vec<Ident>,
}

/// The two halves of a move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DetachAttach {
    /// Takes it off.
    pub off: Vec<String>,
    /// Puts it on.
    pub on: Vec<String>,
    /// What it depends on then, where other names are in it.
    pub uses: Uses,
    /// The trees of it then; OIDs of the family are the origin's.
    #[serde(default)]
    pub tree: Option<String>,
}

/// A twin that was made, on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaPair {
    /// What it is.
    pub kind: DependentKind,
    /// Its name.
    pub name: Ident,
    /// Its live schema.
    pub schema: Ident,
    /// Its blue schema.
    pub blue_schema: Ident,
    /// The origin's.
    pub origin: ObjectId,
    /// The shadow's; none where the changes drop it.
    pub shadow: Option<ObjectId>,
    /// A materialized view whose copy has still to be filled.
    pub to_fill: bool,
    /// What the live materialized view's contents were when its copy was filled, or at the last swap.
    #[serde(default)]
    pub contents: Option<String>,
}
