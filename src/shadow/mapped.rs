//! A column of one table, and the expression over the other that gives its value.

use serde_json::{Map, Value};

use crate::catalog::Column;
use crate::model::changes::Change;
use crate::oid::RelationId;
use crate::pg::parse::{Expression, Target};
use crate::pg::reasons::Reasons;

/// The two sides with what the user said about them.
pub(crate) struct Sides<'a> {
    /// The table's name, for messages.
    pub name: &'a str,
    /// The origin.
    pub origin: RelationId,
    /// The shadow.
    pub shadow: RelationId,
    /// The changes, in their order.
    pub changes: &'a [Change],
    /// The shadow was made by hand: columns correspond by name, not by position.
    pub by_hand: bool,
    /// `forward`.
    pub forward: &'a Map<String, Value>,
    /// `reverse`.
    pub reverse: &'a Map<String, Value>,
    /// `key`.
    pub key: Option<&'a [String]>,
    /// Why they do not fit.
    pub reasons: &'a Reasons<'a>,
}

/// Where an expression comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The column itself, or a cast of it.
    Cast,
    /// USING with more than a cast.
    Using,
    /// The user's `forward` or `reverse`.
    Given,
}

/// A column with what it is computed by.
pub(super) struct Mapped {
    pub column: Column,
    pub expression: Expression,
    pub how: How,
}

/// One direction.
pub(super) struct OneWay {
    pub mapped: Vec<Mapped>,
    pub(super) side_only: Vec<Column>,
    /// Columns whose expression was refused.
    pub(super) refused: Vec<i16>,
}

pub(super) fn target(column: &Column) -> Target<'_> {
    Target { column: column.name.as_str(), type_oid: column.type_oid.into(), typmod: column.typmod }
}
