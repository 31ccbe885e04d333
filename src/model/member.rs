//! A member of a deployment: a pair of tables that swap their roles.

use serde::{Deserialize, Serialize};

use crate::ident::{Ident, QualifiedName};
use crate::model::key::Key;
use crate::model::mapping::Mapping;
use crate::model::phase::Phase;
use crate::model::plan::{Arguments, Plan};
use crate::model::progress::Progress;
use crate::oid::{RelationId, RoleId};

/// Which side is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The table that was live at prepare.
    Origin,
    /// The table that prepare made.
    Shadow,
}

/// What a side consists of: the table that has the name, and the relations that hold its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableTree {
    /// The table.
    pub root: RelationId,
    /// The heap relations below it; of a plain table, the table itself.
    pub leaves: Vec<RelationId>,
}

impl TableTree {
    /// A table that holds its rows itself.
    pub(crate) fn plain(table: RelationId) -> Self {
        Self { root: table, leaves: vec![table] }
    }

    /// All its relations, the root first.
    pub(crate) fn relations(&self) -> impl Iterator<Item = RelationId> {
        let leaves = self.leaves.iter().copied().filter(|leaf| *leaf != self.root);
        std::iter::once(self.root).chain(leaves)
    }
}

/// A pair of tables, as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its number; names of logs and the staging schema end in it.
    pub id: i64,
    /// Green's name.
    pub source: QualifiedName,
    /// The blue schema.
    pub blue_schema: Ident,
    /// The origin.
    pub origin: TableTree,
    /// The shadow.
    pub shadow: TableTree,
    /// The owner.
    pub owner: RoleId,
    /// The phase.
    pub phase: Phase,
    /// Paused by the user.
    pub paused: bool,
    /// The arguments of prepare.
    pub arguments: Arguments,
    /// What prepare decided.
    pub plan: Plan,
    /// Where the work stands.
    pub progress: Progress,
    /// Definition of the origin at prepare, or since the last swap.
    pub fingerprint_origin: serde_json::Value,
    /// Definition of the shadow as we left it.
    pub fingerprint_shadow: serde_json::Value,
    /// The last error of a run.
    pub last_error: Option<String>,
    /// It came with a dump of another database. OIDs are those of what has the names here, 0 for
    /// nothing; those in the plan mean nothing.
    pub restored: bool,
}

impl Member {
    /// The side that is live.
    pub(crate) fn green_side(&self) -> Side {
        match self.phase {
            Phase::Swapped | Phase::Finished => Side::Shadow,
            Phase::Prepared | Phase::Copying | Phase::Indexing | Phase::Ready | Phase::Aborted => {
                Side::Origin
            }
        }
    }

    /// The side that is offline.
    pub(crate) fn blue_side(&self) -> Side {
        match self.green_side() {
            Side::Origin => Side::Shadow,
            Side::Shadow => Side::Origin,
        }
    }

    /// The live table.
    pub(crate) fn green(&self) -> RelationId {
        self.oid(self.green_side())
    }

    /// The offline table.
    pub(crate) fn blue(&self) -> RelationId {
        self.oid(self.blue_side())
    }

    /// The table of a side.
    pub(crate) fn oid(&self, side: Side) -> RelationId {
        self.tree(side).root
    }

    /// What a side consists of.
    pub(crate) fn tree(&self, side: Side) -> &TableTree {
        match side {
            Side::Origin => &self.origin,
            Side::Shadow => &self.shadow,
        }
    }

    /// The live table and the relations that hold its rows.
    pub(crate) fn green_relations(&self) -> impl Iterator<Item = RelationId> {
        self.tree(self.green_side()).relations()
    }

    /// The offline table and the relations that hold its rows.
    pub(crate) fn blue_relations(&self) -> impl Iterator<Item = RelationId> {
        self.tree(self.blue_side()).relations()
    }

    /// The heap relations that hold the live rows.
    pub(crate) fn green_leaves(&self) -> &[RelationId] {
        &self.tree(self.green_side()).leaves
    }

    /// Those that hold the offline rows.
    pub(crate) fn blue_leaves(&self) -> &[RelationId] {
        &self.tree(self.blue_side()).leaves
    }

    /// Everything that the pair consists of.
    pub(crate) fn relations(&self) -> impl Iterator<Item = RelationId> {
        self.origin.relations().chain(self.shadow.relations())
    }

    /// Name of the offline table.
    pub(crate) fn blue_name(&self) -> QualifiedName {
        QualifiedName { schema: self.blue_schema.clone(), name: self.source.name.clone() }
    }

    /// The deployment's own schema, through which the swap crosses.
    pub(crate) fn staging_schema(&self) -> Ident {
        Ident::new(format!("bluegreen_{}", self.id))
    }

    /// The mapping from green to blue as they are now.
    pub(crate) fn mapping(&self) -> &Mapping {
        match self.green_side() {
            Side::Origin => &self.plan.forward,
            Side::Shadow => &self.plan.reverse,
        }
    }

    /// The mapping from blue to green as they are now.
    pub(crate) fn mapping_back(&self) -> &Mapping {
        match self.green_side() {
            Side::Origin => &self.plan.reverse,
            Side::Shadow => &self.plan.forward,
        }
    }

    /// Both tables with the attribute numbers of the keys by which their rows are looked up, green first.
    pub(crate) fn keyed(&self) -> [(RelationId, Vec<i16>); 2] {
        let mapping = self.mapping();
        let of = |key: &Key| key.columns.iter().map(|column| column.attnum).collect();
        [(self.green(), of(&mapping.from_key)), (self.blue(), of(&mapping.to_key))]
    }

    /// The log that capture on `side` writes.
    pub(crate) fn log_of(&self, side: Side) -> QualifiedName {
        let direction = match side {
            Side::Origin => "forward",
            Side::Shadow => "reverse",
        };
        QualifiedName::new("bluegreen", format!("{direction}_{}", self.id))
    }

    /// The log that is being written.
    pub(crate) fn log(&self) -> QualifiedName {
        self.log_of(self.green_side())
    }
}

#[cfg(test)]
impl Member {
    /// One with these tables and nothing decided.
    pub(crate) fn of_tables(id: i64, origin: TableTree, shadow: TableTree) -> Self {
        Self {
            id,
            source: QualifiedName::new("public", format!("table_{id}")),
            blue_schema: Ident::new("public_blue"),
            origin,
            shadow,
            owner: RoleId::INVALID,
            phase: Phase::Prepared,
            paused: false,
            arguments: Arguments::default(),
            plan: Plan::default(),
            progress: Progress::default(),
            fingerprint_origin: serde_json::Value::Null,
            fingerprint_shadow: serde_json::Value::Null,
            last_error: None,
            restored: false,
        }
    }
}
