//! Who rewrites a table: ours, and what it is measured by.

use anyhow::{Context, Result};
use clap::ValueEnum;
use postgres::Client;
use serde::Serialize;

use super::place::Place;
use super::session::{self, SUBJECT, execute};
use super::side::{Side, Sides};
use crate::cluster::SUPERUSER;
use crate::setup::command::{output, say};
use crate::setup::{self, Tree, Workspace};

/// Who rewrites the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Contender {
    /// As a user runs it: a column is added, every setting as it is
    Ours,
    /// The same with bluegreen.copy_workers = 2
    OursWorkers2,
    /// From bg_prepare without changes to swapped, with one copy worker
    Ours1,
    /// The same with two copy workers
    Ours2,
    /// CREATE TABLE AS and the same indexes: no online change, but the least that any must do
    Floor,
    /// pg_repack
    Repack,
    /// CREATE TABLE LIKE, INSERT … SELECT, two renames; loses what is written meanwhile
    Manual,
}

/// A contender and the build that it is of: only ours can be of another one than the clone's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Entrant {
    pub(super) contender: Contender,
    pub(super) side: Side,
}

impl Entrant {
    /// Of the clone's build.
    pub(super) fn here(contender: Contender) -> Self {
        Self { contender, side: Side::Ours }
    }

    /// All of them, each of ours with its like of the other build behind it.
    pub(super) fn all(contenders: &[Contender], sides: &Sides) -> Vec<Self> {
        let mut all = Vec::new();
        for &contender in contenders {
            let every = sides.all();
            let every = every.into_iter().filter(|side| *side == Side::Ours || contender.is_ours());
            all.extend(every.map(|side| Self { contender, side }));
        }
        all
    }

    /// As it is printed.
    pub(super) fn name(self, sides: &Sides) -> String {
        match self.side {
            Side::Ours => self.contender.word().to_owned(),
            Side::Beside => format!("{}@{}", self.contender.word(), sides.name(self.side)),
        }
    }
}

impl Contender {
    /// As it is typed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursWorkers2 => "ours-workers2",
            Self::Ours1 => "ours1",
            Self::Ours2 => "ours2",
            Self::Floor => "floor",
            Self::Repack => "repack",
            Self::Manual => "manual",
        }
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursWorkers2 | Self::Ours1 | Self::Ours2)
    }

    /// Whether it can be had. What is missing is installed; what cannot be is said.
    pub(super) fn is_there(self, workspace: &Workspace) -> bool {
        if self != Self::Repack {
            return true;
        }
        match setup::ensure_repack(workspace, Tree::Release) {
            Ok(()) => true,
            Err(error) => {
                say(&format!("pg_repack is left out, it cannot be had here: {error:#}"));
                false
            }
        }
    }

    /// Makes ready what is made once for a place.
    pub(super) fn enter(self, place: &mut Place) -> Result<()> {
        match self {
            Self::Repack => execute(&mut place.admin, "CREATE EXTENSION IF NOT EXISTS pg_repack"),
            _ => Ok(()),
        }
    }

    /// The session that it works in.
    pub(super) fn subject(self, place: &Place) -> Result<Client> {
        match self {
            Self::Ours1 => session::subject(&place.cluster, &[("bluegreen.copy_workers", "1")]),
            Self::OursWorkers2 | Self::Ours2 => {
                session::subject(&place.cluster, &[("bluegreen.copy_workers", "2")])
            }
            Self::Ours | Self::Floor => session::subject(&place.cluster, &[]),
            Self::Repack | Self::Manual => session::subject_as(&place.cluster, SUPERUSER),
        }
    }

    /// Rewrites the table.
    pub(super) fn rewrite(self, place: &Place, subject: &mut Client) -> Result<()> {
        let table = place.table.name;
        match self {
            Self::Ours | Self::OursWorkers2 => {
                let prepare = format!("SELECT bg_prepare('{table}', 'ADD COLUMN phone text')");
                execute(subject, &prepare)?;
                execute(subject, &format!("CALL bg_run('{table}', 'swapped')"))
            }
            Self::Ours1 | Self::Ours2 => {
                execute(subject, &format!("SELECT bg_prepare('{table}', '')"))?;
                execute(subject, &format!("CALL bg_run('{table}', 'swapped')"))
            }
            Self::Floor => {
                let copy = format!("floor.{table}");
                execute(subject, &format!("CREATE TABLE {copy} AS SELECT * FROM {table}"))?;
                let mut indexes = place.table.all_indexes(&copy).into_iter();
                indexes.try_for_each(|sql| execute(subject, &sql))
            }
            Self::Repack => {
                let mut command = place.cluster.command("pg_repack");
                command.args(["-t", &format!("public.{table}")]).env("PGAPPNAME", SUBJECT);
                output(&mut command).context("pg_repack").map(drop)
            }
            Self::Manual => by_hand(table).iter().try_for_each(|sql| execute(subject, sql)),
        }
    }

    /// Removes what is left: the table is live under its name, as it was defined, and nothing is
    /// beside it.
    pub(super) fn tidy_up(self, place: &Place, subject: &mut Client) -> Result<()> {
        let table = place.table.name;
        match self {
            // Back to the table without the column, so that it is the same for the next one.
            Self::Ours | Self::OursWorkers2 => {
                execute(subject, &format!("CALL bg_run('{table}', 'swapped')"))?;
                execute(subject, &format!("SELECT bg_revert('{table}')"))?;
                execute(subject, &format!("SELECT bg_abort('{table}')"))
            }
            Self::Ours1 | Self::Ours2 => execute(subject, &format!("SELECT bg_finish('{table}')")),
            Self::Floor => execute(subject, &format!("DROP TABLE floor.{table}")),
            Self::Repack => Ok(()),
            // The old one has its sequence and the names of its indexes.
            Self::Manual => {
                execute(subject, &format!("DROP TABLE public.{table}"))?;
                execute(subject, &format!("ALTER TABLE public.{table}_old RENAME TO {table}"))
            }
        }
    }
}

/// What is done where no tool is at hand.
fn by_hand(table: &str) -> [String; 4] {
    [
        format!("CREATE TABLE public.{table}_new (LIKE public.{table} INCLUDING ALL)"),
        format!("ALTER TABLE public.{table}_new OWNER TO {}", super::OWNER),
        format!("INSERT INTO public.{table}_new SELECT * FROM public.{table}"),
        format!(
            "BEGIN;
             ALTER TABLE public.{table} RENAME TO {table}_old;
             ALTER TABLE public.{table}_new RENAME TO {table};
             COMMIT"
        ),
    ]
}
