//! What publications need of the new table: a replica identity by which updates and deletions can be sent,
//! that their column lists cover and their row filters keep to.
//!
//! PostgreSQL judges it when a row is updated or deleted. So the new table joins each publication in a
//! subtransaction, as it will after the swap, and the server's own check is asked.

use std::time::Duration;

use crate::catalog::Table;
use crate::catalog::dependent::{self as reader, GeneratedIdentity};
use crate::ddl::dependent as ddl;
use crate::dependent::failure::{broken, cause};
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName, plain};
use crate::oid::RelationId;
use crate::pg::parse::A_KEY;
use crate::pg::reasons::Reasons;
use crate::pg::relation::{self, Sent};
use crate::pg::{lock, spi, xact};

/// How the new table will be in a publication.
pub(super) struct Member<'a> {
    /// The publication.
    pub(super) publication: &'a Ident,
    /// Its column list.
    pub(super) columns: Option<&'a [Ident]>,
    /// Its row filter.
    pub(super) filter: Option<&'a str>,
    /// It sends stored generated columns, where it has no list.
    pub(super) sends_generated: bool,
}

impl Member<'_> {
    /// Of generated columns one that the server wants to be sent, and that is not.
    fn lacks<'c>(&self, columns: &'c [GeneratedIdentity]) -> Option<&'c GeneratedIdentity> {
        let is_sent = |column: &GeneratedIdentity| column.is_stored && self.sends_generated;
        let mut lacking = columns.iter().filter(|column| column.is_refused && !is_sent(column));
        // A list says itself what is sent.
        lacking.next().filter(|_| self.columns.is_none())
    }
}

/// The new table, which joins publications to see what they need.
pub(super) struct Joining<'a> {
    /// The live table.
    pub(super) green: &'a Table,
    /// The new one, with its indexes and its marks.
    pub(super) shadow: RelationId,
    /// Its name by now.
    pub(super) name: &'a QualifiedName,
    /// How long a publication's lock is waited for.
    pub(super) limit: Duration,
}

impl Joining<'_> {
    /// Refuses a new table whose rows could not be updated or deleted after the swap, where those of the
    /// live one can.
    pub(super) fn require(&self, members: &[Member<'_>], reasons: &Reasons<'_>) -> Result<()> {
        let green = self.green.oid;
        let is_sent =
            |sent| xact::subtransaction(|| relation::check_replica_identity(green, sent)).is_ok();
        let sent = [Sent::Updates, Sent::Deletions].map(|sent| (sent, is_sent(sent)));
        // A key that a refused change would have made may be what is missing.
        let names = [A_KEY.to_owned()];
        for member in members {
            let joined = || {
                let sent = sent.iter().filter(|(_, is_sent)| *is_sent);
                sent.map(|(sent, _)| *sent).try_for_each(|sent| self.join(member, sent))
            };
            reasons.part_about(&names, joined)?;
        }
        if !members.is_empty() {
            reasons.part_about(&names, || require_sent(self.green, self.shadow))?;
        }
        Ok(())
    }

    fn join(&self, member: &Member<'_>, sent: Sent) -> Result<()> {
        // Whoever changes the publication now must not keep writers waiting behind us.
        let joined = xact::trial(|| {
            let _limited = lock::limited(self.limit)?;
            let Member { publication, columns, filter, .. } = member;
            spi::run(&ddl::publish(publication, self.name, *columns, *filter), &[]).map(drop)?;
            let checked =
                xact::subtransaction(|| relation::check_replica_identity(self.shadow, sent));
            match checked {
                Err(caught) => Err(refusal(self, member, sent, caught)?),
                Ok(()) => Ok(()),
            }
        });
        match joined {
            Ok(()) => Ok(()),
            Err(caught) if caught.error.hint.is_some() => caught.raise(),
            Err(caught) => Err(broken(&title(member), &cause(caught)?)),
        }
    }
}

fn title(member: &Member<'_>) -> String {
    format!("publication {}", plain(member.publication.as_str()))
}

fn refusal(
    joining: &Joining<'_>,
    member: &Member<'_>,
    sent: Sent,
    caught: xact::SubtransactionError,
) -> Result<Error> {
    let name = joining.green.qualified().plain();
    let title = title(member);
    let verb = match sent {
        Sent::Updates => "UPDATE",
        Sent::Deletions => "DELETE",
    };
    let lacks = caught.error.detail.is_none();
    let generated = reader::generated_identity(joining.shadow)?;
    let why = cause(caught)?;
    Ok(if lacks {
        Error::state(format!(
            "the new table of {name} would have no replica identity, and {title} needs one: every {verb} would fail after the swap"
        ))
        .hint("Keep the primary key, or give the table another replica identity first, that the changes leave: ALTER TABLE … REPLICA IDENTITY USING INDEX (unique, on NOT NULL columns), or FULL.")
    } else if let Some(column) = member.lacks(&generated) {
        let column = plain(column.name.as_str());
        Error::state(format!(
            "the replica identity of the new table of {name} would have the generated column {column}, which {title} does not send: every {verb} would fail after the swap"
        ))
        .hint("Make the column STORED, if it is not, and let the publication send it: ALTER PUBLICATION … SET (publish_generated_columns = stored); or give the table another replica identity first, that the changes leave: ALTER TABLE … REPLICA IDENTITY USING INDEX.")
    } else {
        Error::state(format!(
            "the replica identity of the new table of {name} would not fit {title}: every {verb} would fail after the swap"
        ))
        .hint("Let the publication's column list have all columns of the new replica identity and its row filter no others, or set another one first, that the changes leave: ALTER TABLE … REPLICA IDENTITY USING INDEX, or FULL where there is no column list.")
    }
    .detail(why))
}

/// Before 18 no server sends a generated column, so that subscribers could not find rows by it; later ones
/// refuse it themselves.
fn require_sent(green: &Table, shadow: RelationId) -> Result<()> {
    let not_sent = |table| -> Result<Option<Ident>> {
        let columns = reader::generated_identity(table)?;
        Ok(columns.into_iter().find(|column| !column.is_refused).map(|column| column.name))
    };
    let before = not_sent(green.oid)?;
    let Some(column) = not_sent(shadow)?.filter(|_| before.is_none()) else {
        return Ok(());
    };
    let (name, column) = (green.qualified().plain(), plain(column.as_str()));
    Err(Error::state(format!(
        "the replica identity of the new table of {name} would have the generated column {column}, which is not published: subscribers could not apply updates and deletions"
    ))
    .hint("Use a key of columns that are not generated, or another replica identity: ALTER TABLE … REPLICA IDENTITY USING INDEX first, with an index that the changes leave."))
}
