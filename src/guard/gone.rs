//! A deployment of which a table was dropped. It can only be ended; and a table that was made anew under
//! the dropped one's name ends it by bg_prepare.

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::error::{Error, Result};
use crate::ident::{literal, plain};
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::oid::RoleId;
use crate::pg::security::Identity;

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The live table.
    Green {
        /// Something else has its name now.
        made_anew: bool,
    },
    /// The offline table.
    Blue,
}

/// What is missing of an open deployment; the live table, where both are.
pub(crate) fn look(member: &Member) -> Result<Option<Gone>> {
    if !member.phase.is_open() || member.restored {
        return Ok(None);
    }
    let _us = Identity::extension()?;
    if !catalog::is_there(member.green())? {
        let made_anew = catalog::relation_oid(&member.source)?.is_some();
        return Ok(Some(Gone::Green { made_anew }));
    }
    Ok((!catalog::is_there(member.blue())?).then_some(Gone::Blue))
}

impl Gone {
    /// What is wrong, and what to do.
    pub(crate) fn refusal(self, member: &Member) -> Error {
        let live = member.source.plain();
        let table = match self {
            Self::Green { .. } => format!("table {live}"),
            Self::Blue => {
                format!("table {}, the offline one of {live},", member.blue_name().plain())
            }
        };
        Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, format!("{table} no longer exists"))
            .hint(self.next_step(member))
    }

    /// The statement that ends the deployment.
    pub(crate) fn statement(self, member: &Member) -> String {
        // By number: a table may have been renamed too.
        match (self, member.phase) {
            (Self::Blue, Phase::Swapped) => format!("SELECT bg_finish({})", member.id),
            (Self::Green { .. } | Self::Blue, _) => format!("SELECT bg_abort({})", member.id),
        }
    }

    /// The call that ends the deployment, and what becomes of its rows.
    pub(crate) fn next_step(self, member: &Member) -> String {
        let (id, table) = (member.id, literal(&member.source.plain()));
        match (self, member.phase) {
            (Self::Green { made_anew: true }, Phase::Swapped) => format!(
                "SELECT bg_abort({id}) ends the deployment, as bg_prepare of the new table does; the old table, which has the last copy of the rows, stays in schema {}.",
                plain(member.blue_schema.as_str())
            ),
            (Self::Green { made_anew: true }, _) => format!(
                "SELECT bg_abort({id}) ends the deployment, as bg_prepare of the new table does; the offline table goes with it."
            ),
            (Self::Green { made_anew: false }, Phase::Swapped) => {
                format!("Bring the old table back with SELECT bg_abort({id}).")
            }
            (Self::Green { made_anew: false }, _) => {
                format!("Clean up with SELECT bg_abort({id}).")
            }
            (Self::Blue, Phase::Swapped) => {
                format!("Keep the live table with SELECT bg_finish({table}).")
            }
            (Self::Blue, _) => format!(
                "Clean up with SELECT bg_abort({table}); bg_prepare of the table does it too."
            ),
        }
    }
}

/// Whoever owns a new table of a dropped one's name need not own what is left of that.
pub(crate) fn require_owner(member: &Member, caller: RoleId) -> Result<()> {
    let _us = Identity::extension()?;
    if catalog::is_owner(caller, member.owner)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be owner of the deployment of a dropped table {}", member.source.plain()),
    )
    .detail("A table of another owner had this name when the deployment began.")
    .hint(format!("Let its owner or a superuser end it with SELECT bg_abort({}).", member.id)))
}
