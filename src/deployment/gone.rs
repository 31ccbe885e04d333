//! A deployment of which a table was dropped. It can only be ended; and a table that was made anew under
//! the dropped one's name ends it by bg_prepare.

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::deployment::{finish, guard};
use crate::error::{Error, Result};
use crate::ident::{literal, plain};
use crate::model::deployment::{Deployment, Side};
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::security::Identity;

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The live table.
    Green {
        /// Something else has its name now.
        made_anew: bool,
    },
    /// The offline table.
    Blue,
}

/// What is missing of an open deployment; the live table, where both are.
pub fn look(d: &Deployment) -> Result<Option<Gone>> {
    if !d.phase.is_open() || d.restored {
        return Ok(None);
    }
    let _us = Identity::extension()?;
    if !catalog::is_there(d.green())? {
        let made_anew = catalog::relation_oid(&d.source)?.is_some();
        return Ok(Some(Gone::Green { made_anew }));
    }
    Ok((!catalog::is_there(d.blue())?).then_some(Gone::Blue))
}

impl Gone {
    /// What is wrong, and what to do.
    pub fn refusal(self, d: &Deployment) -> Error {
        let name = match self {
            Self::Green { .. } => d.source.plain(),
            Self::Blue => d.blue_name().plain(),
        };
        Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("table {name} of deployment {} no longer exists", d.id),
        )
        .hint(self.next_step(d))
    }

    /// The call that ends the deployment, and what becomes of its rows.
    pub fn next_step(self, d: &Deployment) -> String {
        let (id, table) = (d.id, literal(&d.source.plain()));
        match (self, d.phase) {
            (Self::Green { made_anew: true }, Phase::Swapped) => format!(
                "SELECT bg_abort({id}) ends the deployment, as bg_prepare of the new table does; the old table, which has the last copy of the rows, stays in schema {}.",
                plain(d.blue_schema.as_str())
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

/// Ends a deployment that stands in the way of a new one of its table, or of a table of the name: where
/// the live one is gone and made anew, or, before the swap, the offline one is gone. What came of it;
/// None: neither is so.
pub fn make_way(known: &Deployment, caller: u32, settings: &Settings) -> Result<Option<String>> {
    if !stands_in_the_way(known)? {
        return Ok(None);
    }
    require_owner(known, caller)?;
    let mut d = guard::lock(known.id)?;
    if d.phase.is_open() && stands_in_the_way(&d)? {
        return finish::abort(&mut d, settings).map(Some);
    }
    Ok(Some(format!("deployment {} of {} is over", d.id, d.source.plain())))
}

fn stands_in_the_way(d: &Deployment) -> Result<bool> {
    Ok(match look(d)? {
        Some(Gone::Green { made_anew }) => made_anew,
        Some(Gone::Blue) => d.green_side() == Side::Origin,
        None => false,
    })
}

/// Whoever owns a new table of a dropped one's name need not own what is left of that.
pub fn require_owner(d: &Deployment, caller: u32) -> Result<()> {
    let _us = Identity::extension()?;
    if catalog::is_owner(caller, d.owner)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be owner of deployment {} of a dropped table {}", d.id, d.source.plain()),
    )
    .detail("A table of another owner had this name when the deployment began.")
    .hint(format!("Let its owner or a superuser end it with SELECT bg_abort({}).", d.id)))
}
