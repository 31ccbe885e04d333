//! What a user may ask for in `changes`, one value per action, in the order written.
//!
//! Names are as the server reads them: folded to lower case unless quoted, cut to 63 bytes.

use serde::{Deserialize, Serialize};

/// One of the comma-separated parts of `changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// One action of ALTER TABLE.
    Alter {
        /// The action as written, from its first token to its last: no comment before or after it,
        /// never a `;`. It may stand alone or beside others behind `ALTER TABLE name`.
        text: String,
        /// What it is.
        action: Action,
    },
    /// `RENAME [COLUMN] from TO to`.
    RenameColumn {
        /// The present name.
        from: String,
        /// The new name.
        to: String,
    },
    /// `RENAME CONSTRAINT from TO to`.
    RenameConstraint {
        /// The present name.
        from: String,
        /// The new name.
        to: String,
    },
}

/// How the values of a generated column come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Generated {
    /// They are stored with the row.
    Stored,
    /// They are computed when they are read. Since PostgreSQL 18.
    Virtual,
}

/// The actions of ALTER TABLE that `changes` may contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// `ADD COLUMN`.
    AddColumn {
        column: String,
        /// Of type `serial`, `bigserial`, `smallserial` or one of their synonyms.
        serial: bool,
        /// `GENERATED ALWAYS AS`, and how.
        #[serde(default)]
        generated: Option<Generated>,
        if_not_exists: bool,
    },
    /// `DROP COLUMN`.
    DropColumn { column: String, if_exists: bool, cascade: bool },
    /// `ALTER COLUMN … TYPE`.
    AlterType {
        column: String,
        /// The expression behind USING, as written.
        using: Option<String>,
    },
    /// `ALTER COLUMN … SET NOT NULL`.
    SetNotNull { column: String },
    /// `ALTER COLUMN … DROP NOT NULL`.
    DropNotNull { column: String },
    /// `ALTER COLUMN … SET DEFAULT`.
    SetDefault { column: String },
    /// `ALTER COLUMN … DROP DEFAULT`.
    DropDefault { column: String },
    /// `ALTER COLUMN … SET STATISTICS`.
    SetStatistics { column: String },
    /// `ALTER COLUMN … SET STORAGE`.
    SetStorage { column: String },
    /// `ALTER COLUMN … SET COMPRESSION`.
    SetCompression { column: String },
    /// `ALTER COLUMN … SET (…)`.
    SetColumnOptions { column: String },
    /// `ALTER COLUMN … RESET (…)`.
    ResetColumnOptions { column: String },
    /// `ALTER COLUMN … ADD GENERATED … AS IDENTITY`.
    AddIdentity { column: String },
    /// `ALTER COLUMN … SET GENERATED …`, and the sequence options of an identity column.
    SetIdentity { column: String },
    /// `ALTER COLUMN … DROP IDENTITY`.
    DropIdentity { column: String, if_exists: bool },
    /// `ALTER COLUMN … DROP EXPRESSION`.
    DropExpression { column: String, if_exists: bool },
    /// `ADD [CONSTRAINT name] …`.
    AddConstraint {
        /// None where the server makes the name.
        name: Option<String>,
        kind: ConstraintKind,
        /// Written with NOT VALID.
        not_valid: bool,
    },
    /// `DROP CONSTRAINT`.
    DropConstraint { name: String, if_exists: bool, cascade: bool },
    /// `SET (…)`.
    SetStorageParameters {
        /// The parameters' names, `toast.` in front where written.
        names: Vec<String>,
    },
    /// `RESET (…)`.
    ResetStorageParameters {
        /// The parameters' names, `toast.` in front where written.
        names: Vec<String>,
    },
}

/// Kinds of table constraints that `changes` may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConstraintKind {
    /// CHECK.
    Check,
    /// UNIQUE.
    Unique,
    /// PRIMARY KEY.
    PrimaryKey,
    /// EXCLUDE.
    Exclude,
    /// FOREIGN KEY.
    ForeignKey,
    /// NOT NULL as a constraint of the table (PostgreSQL 18).
    NotNull,
}

impl Change {
    /// The column or constraint that it is about, by the name that it has before.
    pub(crate) fn subject(&self) -> Option<&str> {
        match self {
            Self::RenameColumn { from, .. } | Self::RenameConstraint { from, .. } => Some(from),
            Self::Alter { action, .. } => action.subject(),
        }
    }

    /// The column that it drops with CASCADE.
    pub(crate) fn dropped_with_cascade(&self) -> Option<&str> {
        match self {
            Self::Alter { action: Action::DropColumn { column, cascade: true, .. }, .. } => {
                Some(column)
            }
            _ => None,
        }
    }

    /// Whether it says CASCADE: what depends on the dropped part goes with it.
    pub(crate) fn cascades(&self) -> bool {
        matches!(
            self,
            Self::Alter {
                action: Action::DropColumn { cascade: true, .. }
                    | Action::DropConstraint { cascade: true, .. },
                ..
            }
        )
    }
}

impl Action {
    /// The column or constraint that it is about.
    fn subject(&self) -> Option<&str> {
        match self {
            Self::AddColumn { column, .. }
            | Self::DropColumn { column, .. }
            | Self::AlterType { column, .. }
            | Self::SetNotNull { column }
            | Self::DropNotNull { column }
            | Self::SetDefault { column }
            | Self::DropDefault { column }
            | Self::SetStatistics { column }
            | Self::SetStorage { column }
            | Self::SetCompression { column }
            | Self::SetColumnOptions { column }
            | Self::ResetColumnOptions { column }
            | Self::AddIdentity { column }
            | Self::SetIdentity { column }
            | Self::DropIdentity { column, .. }
            | Self::DropExpression { column, .. } => Some(column),
            Self::AddConstraint { name, .. } => name.as_deref(),
            Self::DropConstraint { name, .. } => Some(name),
            Self::SetStorageParameters { .. } | Self::ResetStorageParameters { .. } => None,
        }
    }
}
