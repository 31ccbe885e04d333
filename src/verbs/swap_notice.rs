//! What clients should know of a swap or a revert. It is told before the locks, or after them by who commits
//! himself: nothing is sent to a client, who may be slow, while others wait.

use crate::catalog;
use crate::check;
use crate::dependent;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::deployment::Deployment;
use crate::model::member::Member;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::after_swap::{self, Swap};

/// What is done after the exchange of the tables without anybody's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: it was a call of bg_swap.
    Nothing,
    /// Foreign keys are validated: it is a run until `swapped`.
    Validates,
    /// Whatever there is to do: the old table is live again, or the deployment is finished.
    All,
}

/// Its lines; None where there is nothing to say.
pub(crate) fn notice(d: &Deployment, then: Then) -> Result<Option<String>> {
    let mut lines = Vec::new();
    for member in d.members() {
        lines.extend(xact::rolled_back(|| {
            let _us = Identity::extension()?;
            lines_of(member, then)
        })?);
    }
    Ok(Some(lines.join("\n")).filter(|lines| !lines.is_empty()))
}

fn lines_of(member: &Member, then: Then) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let users = catalog::row_type::row_type_users(member.green())?;
    lines.extend(check::row_type::notice(&member.source.plain(), &users));
    for place in dependent::outdated(member)? {
        let twin = &member.progress.twins[place];
        let view = QualifiedName { schema: twin.schema.clone(), name: twin.name.clone() };
        lines.push(format!(
            "the live materialized view {} has been refreshed since its copy was filled: refresh it again after the swap",
            view.plain()
        ));
    }
    if then != Then::All {
        lines.push(after_swap::next(&Swap {
            table: &member.source.plain(),
            new_columns: have_other_columns(member)?,
            not_valid: then == Then::Nothing
                && member.plan.dependents.moves.iter().any(|m| m.validate.is_some()),
        }));
    }
    Ok(lines)
}

/// Whether the rows of the two tables look different to a client.
fn have_other_columns(member: &Member) -> Result<bool> {
    let seen = |table| -> Result<Vec<_>> {
        let columns = catalog::columns(table)?.into_iter();
        Ok(columns.map(|c| (c.name, c.type_oid, c.typmod)).collect())
    };
    Ok(seen(member.green())? != seen(member.blue())?)
}
