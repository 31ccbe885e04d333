//! Why something is refused: the first reason ends the work (bg_prepare), or all are gathered (bg_check).
//!
//! Work that finds a reason gives it to [`Reasons::refuse`] and goes on as if it were not there, where that
//! makes sense; work that fails as a whole is a [`Reasons::part`]. Where the first reason ends it, both are
//! nothing but `?`.

use std::cell::RefCell;

use crate::error::{Error, ErrorKind, Result};
use crate::pg::xact;

/// What becomes of a reason.
pub(crate) struct Reasons<'a>(Option<Gathered<'a>>);

struct Gathered<'a> {
    found: RefCell<Vec<Error>>,
    /// Names that something refused would have given or changed: nothing is known of them.
    unsettled: RefCell<Vec<String>>,
    /// Says where an error comes from, while that is known.
    amend: Box<dyn Fn(Error) -> Error + 'a>,
}

impl<'a> Reasons<'a> {
    /// The first ends the work.
    pub(crate) fn first() -> Self {
        Self(None)
    }

    /// All are gathered, each as `amend` says it.
    pub(crate) fn all(amend: impl Fn(Error) -> Error + 'a) -> Self {
        Self(Some(Gathered {
            found: RefCell::default(),
            unsettled: RefCell::default(),
            amend: Box::new(amend),
        }))
    }

    /// Whether they are gathered.
    pub(crate) fn are_gathered(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a reason.
    ///
    /// # Errors
    /// The reason, where the first ends the work, or where it is the server's and not the request's.
    pub(crate) fn refuse(&self, error: Error) -> Result<()> {
        let Some(gathered) = &self.0 else { return Err(error) };
        if error.kind == ErrorKind::Refused {
            return Ok(());
        }
        if is_of_the_server(&error) {
            return Err(error);
        }
        let error = (gathered.amend)(error);
        let mut found = gathered.found.borrow_mut();
        if !found.contains(&error) {
            found.push(error);
        }
        Ok(())
    }

    /// Takes a reason that is about `names`: it is none where one of them is not settled.
    pub(crate) fn refuse_about(&self, names: &[String], error: Error) -> Result<()> {
        if names.iter().any(|name| self.is_unsettled(name)) && !is_of_the_server(&error) {
            return Ok(());
        }
        self.refuse(error)
    }

    /// Work without which one can go on: None where it was refused, and rolled back.
    pub(crate) fn part<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        self.part_about(&[], work)
    }

    /// The same; its failure is no reason where one of `names` is not settled.
    pub(crate) fn part_about<T>(
        &self,
        names: &[String],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        if self.0.is_none() {
            return work().map(Some);
        }
        match xact::subtransaction(work) {
            Ok(done) => Ok(Some(done)),
            Err(caught) => self.refuse_about(names, caught.error).map(|()| None),
        }
    }

    /// Notes names that something refused would have given or changed.
    pub(crate) fn unsettle(&self, names: impl IntoIterator<Item = String>) {
        if let Some(gathered) = &self.0 {
            gathered.unsettled.borrow_mut().extend(names);
        }
    }

    /// Whether something refused would have given or changed what has this name.
    pub(crate) fn is_unsettled(&self, name: &str) -> bool {
        let unsettled = |gathered: &Gathered<'_>| {
            gathered.unsettled.borrow().iter().any(|unsettled| unsettled == name)
        };
        self.0.as_ref().is_some_and(unsettled)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |gathered| gathered.found.borrow().len())
    }

    /// Ends work that would need what was refused: with an error that is no reason itself.
    pub(crate) fn require_none(&self) -> Result<()> {
        if self.count() == 0 { Ok(()) } else { Err(Error::signal(ErrorKind::Refused)) }
    }

    /// What was gathered.
    pub(crate) fn into_gathered(self) -> Vec<Error> {
        self.0.map(|gathered| gathered.found.into_inner()).unwrap_or_default()
    }
}

/// It is not about what was asked for: a cancel, a full disk, a broken server.
fn is_of_the_server(error: &Error) -> bool {
    matches!(&xact::sqlstate(error.code)[..2], "57" | "53" | "58" | "XX" | "25")
}
