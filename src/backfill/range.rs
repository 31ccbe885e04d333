//! Copying a range of green's blocks. One statement writes it; where that fails on a row, the range is halved down
//! to the row, which is handed to sync, left out, or named.

use crate::catalog;
use crate::ddl::rows::Rows;
use crate::error::{Error, Result};
use crate::heap::bulk::{self, Inserted, Shared};
use crate::heap::generated;
use crate::model::member::Member;
use crate::oid::{BlockNumber, LineNumber};
use crate::pg::security::{self, Identity, SettingsLevel};
use crate::pg::spi::{self, Options};
use crate::pg::xact::{self, SubtransactionError};
use crate::state::change_log::{self, Entry};
use crate::state::rejected_rows::{self, Rejected};

/// One past the largest possible offset number (pages of 32 kB): the upper bound of a TID range.
const LINES_END: LineNumber = 2048;

/// What wrote the rows, for those who ask how fast it may be.
const MULTI_INSERT: &str = "multi-insert";

/// How many rows were written, and what wrote them.
pub(super) type Written = (u64, Option<String>);

/// Copies the blocks `from..to`, as the table's owner. `skip_damaged`: rows that cannot be read are left out.
pub(super) fn copy(
    member: &Member,
    (from, to): (BlockNumber, BlockNumber),
    shared: Shared,
    skip_damaged: bool,
) -> Result<Written> {
    let blue = member.blue_name();
    let rows = Rows { mapping: member.mapping(), from: &member.source, to: &blue };
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    // A small table would be read whole, also for a block or a row of it.
    let _ranges = SettingsLevel::open();
    security::set("enable_seqscan", "off")?;
    Copier { member, rows, shared, skip_damaged }.blocks(from, to)
}

struct Copier<'a> {
    member: &'a Member,
    rows: Rows<'a>,
    shared: Shared,
    skip_damaged: bool,
}

impl Copier<'_> {
    /// Halves a range that fails on a row, down to the block.
    fn blocks(&self, from: BlockNumber, to: BlockNumber) -> Result<Written> {
        match self.write(&self.rows.copy(from, to)) {
            Ok(done) => Ok(done),
            Err(caught) if self.is_one_rows(&caught) && to - from > 1 => {
                let middle = from + (to - from) / 2;
                Ok(both(self.blocks(from, middle)?, self.blocks(middle, to)?))
            }
            // No row of a page that cannot be read can be named.
            Err(caught)
                if caught.is_damage()
                    && self.skip_damaged
                    && self.is_unreadable(from, (LINES_END - 1, LINES_END))? =>
            {
                self.leave_out(&format!("block {from}"), None, caught.error)
            }
            Err(caught) if self.is_one_rows(&caught) => self.lines(from, (1, LINES_END)),
            Err(caught) => self.stop((from, to), caught),
        }
    }

    /// Halves the line pointers of a block, down to the row.
    fn lines(&self, block: BlockNumber, (from, to): (LineNumber, LineNumber)) -> Result<Written> {
        match self.write(&self.rows.copy_lines(block, from, to)) {
            Ok(done) => Ok(done),
            Err(caught) if self.is_one_rows(&caught) && to - from > 1 => {
                let middle = from + (to - from) / 2;
                Ok(both(self.lines(block, (from, middle))?, self.lines(block, (middle, to))?))
            }
            Err(caught) if caught.is_data_error() => {
                self.hand_to_sync(block, from)?;
                Ok((0, None))
            }
            // The damage may be blue's, or a function may say so: that is no reason to leave a row out.
            Err(caught)
                if self.is_one_rows(&caught) && self.is_unreadable(block, (from, to))? =>
            {
                let key = self.key_at(block, from);
                self.leave_out(&format!("row version ({block},{from})"), key, caught.error)
            }
            Err(caught) => self.stop((block, block.saturating_add(1)), caught),
        }
    }

    /// An error of one row, which may be left out.
    fn is_one_rows(&self, caught: &SubtransactionError) -> bool {
        caught.is_data_error() || (self.skip_damaged && caught.is_damage())
    }

    /// Runs INSERT … SELECT in bulk, or by the server's own INSERT where that has to do it.
    fn write(&self, sql: &str) -> std::result::Result<Written, SubtransactionError> {
        let blue = self.member.blue();
        generated::written(blue, &self.rows.mapping.stored(), || {
            Ok(match bulk::insert(sql, blue, self.shared)? {
                Inserted::Rows(count) => (count, Some(MULTI_INSERT.to_owned())),
                Inserted::ByServer(why) => (spi::run(sql, &[])?, Some(format!("insert: {why}"))),
                Inserted::Rewritten => return Err(super::rewritten(&self.member.blue_name())),
            })
        })
    }

    /// Whether the server cannot even read these rows of green.
    fn is_unreadable(
        &self,
        block: BlockNumber,
        (from, to): (LineNumber, LineNumber),
    ) -> Result<bool> {
        let sql = self.rows.read_lines(block, from, to);
        match xact::subtransaction(|| spi::run(&sql, &[]).map(drop)) {
            Ok(()) => Ok(false),
            Err(caught) if caught.is_damage() => Ok(true),
            Err(caught) => caught.raise(),
        }
    }

    /// Records what cannot be read, as set aside: it does not stand in the way of the swap.
    fn leave_out(&self, what: &str, key: Option<String>, mut error: Error) -> Result<Written> {
        error.message = format!("{what} cannot be read: {}", error.message);
        let green = self.member.source.plain();
        xact::warn(&format!("left out of the copy of {green}: {}", error.message));
        let rejected = Rejected { key: key.as_deref(), row: None, error: &error, set_aside: true };
        rejected_rows::insert(self.member, &rejected)?;
        Ok((0, None))
    }

    /// The key of a row of green as a JSON object, where that can be read.
    fn key_at(&self, block: BlockNumber, line: LineNumber) -> Option<String> {
        let sql = self.rows.describe_key_at(block, line);
        xact::subtransaction(|| spi::one::<String>(&sql, &[])).ok().flatten()
    }

    /// What ends the copy: where most rows may raise it, it names the first of the blocks that does.
    fn stop(
        &self,
        blocks: (BlockNumber, BlockNumber),
        caught: SubtransactionError,
    ) -> Result<Written> {
        if caught.is_undefined() || caught.is_damage() {
            return Err(self.first_failing(blocks, caught.error)?);
        }
        caught.raise()
    }

    /// The error that stops a copy, with the row that raises it: the first of the blocks. It is not handed to
    /// sync: most rows may raise it, and what is missing is not theirs.
    fn first_failing(
        &self,
        (mut from, mut to): (BlockNumber, BlockNumber),
        mut error: Error,
    ) -> Result<Error> {
        let fails = |sql: &str| match self.write(sql) {
            Ok(_) => Ok(None),
            Err(caught)
                if caught.is_undefined() || caught.is_damage() || caught.is_data_error() =>
            {
                Ok(Some(caught.error))
            }
            Err(caught) => caught.raise(),
        };
        if fails(&self.rows.copy(from, from))?.is_some() {
            return Ok(error);
        }
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            match fails(&self.rows.copy(from, middle))? {
                Some(found) => (to, error) = (middle, found),
                None => from = middle,
            }
        }
        let (mut first, mut end) = (1, LINES_END);
        while end - first > 1 {
            let middle = first + (end - first) / 2;
            match fails(&self.rows.copy_lines(from, first, middle))? {
                Some(found) => (end, error) = (middle, found),
                None => first = middle,
            }
        }
        Ok(named(error, &self.member.source.plain(), from, self.key_at(from, first)))
    }

    /// A row that cannot be written is put into the log: sync tries it, and records it as a misfit.
    fn hand_to_sync(&self, block: BlockNumber, line: LineNumber) -> Result<()> {
        let member = self.member;
        let log = {
            let _us = Identity::extension()?;
            catalog::relation_oid(&member.log())?.ok_or_else(|| {
                Error::state("the change log of the deployment does not exist").hint(
                    "Writes may be lost to the copy: run SELECT bg_abort(table) and begin again.",
                )
            })?
        };
        let columns = member.mapping().from_key.columns.len();
        spi::with_rows(&self.rows.key_at(block, line), &[], Options::default(), |found, _| {
            for row in 0..found.len() {
                let key: Vec<_> = (1..=columns).map(|c| found.datum(row, c)).collect();
                let order = change_log::order_now();
                let entry = Entry { operation: b'U', order, key: &key, old: None };
                change_log::append_entry(log, &entry)?;
            }
            Ok(())
        })
    }
}

/// What two parts of a range have written.
fn both(left: Written, right: Written) -> Written {
    (left.0 + right.0, right.1.or(left.1))
}

/// An error with the row that raises it.
fn named(mut error: Error, green: &str, block: BlockNumber, key: Option<String>) -> Error {
    let place = match key {
        Some(key) => format!("The row of {green} with the key {key} raises it."),
        None => format!("Block {block} of {green} raises it."),
    };
    let detail = match error.detail.take() {
        Some(detail) => format!("{place} {detail}"),
        None => place,
    };
    let damage = matches!(xact::sqlstate(error.code).as_str(), "XX001" | "XX002");
    let undefined = matches!(&xact::sqlstate(error.code)[..2], "42" | "3F");
    let error = error.detail(detail);
    if undefined {
        // The server's own speaks of casts.
        return error.hint(
            "Expressions of a deployment and the functions that they call are run with the schemas of bg_prepare's names only, not with the search_path of a session. Give the function one of its own (ALTER FUNCTION … SET search_path), or make what is missing. Then CALL bg_run again: it goes on where it was.",
        );
    }
    if error.hint.is_some() {
        return error;
    }
    error.hint(if damage {
        "Repair the row in the live table, delete it, or leave such rows out: SET bluegreen.skip_damaged_rows = on. Then CALL bg_run again: it goes on where it was."
    } else {
        "Correct the row in the live table and CALL bg_run again: it goes on where it was."
    })
}
