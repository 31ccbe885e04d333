//! `cargo chaos`: random deployments of random tables under random writers, while operators do
//! random things and random things go wrong; after each step everything is looked at.
//!
//! Time goes by in *episodes*: each has a database with a table of its own, changes to it, two to
//! four writers, some steps, and an end. A *step* is a call of one operator or two at the same time,
//! and what is done to them meanwhile. After it the writers stand still for a moment, and
//! [`invariant`] says what must hold.
//!
//! Everything that is chosen is drawn from the seed before the episode begins ([`plan`]), so the
//! same seed gives the same tables, changes, writers' choices, verbs and faults in the same order.
//! It does not give the same run: threads and processes race, and where a fault meets a deployment
//! is a matter of microseconds. `--seed N --episode E` plays one episode, as often as you like.
//!
//! A refusal is no finding. An internal error is one, and a lost connection or a cancelled statement
//! that no fault explains, a panic or a crash in the server's log, a call or a writer that hangs, and
//! every invariant that does not hold. A finding ends the run, tells the last actions, and leaves the
//! cluster's files.

mod diary;
mod fault;
mod invariant;
mod likeness;
mod observer;
mod operator;
mod plan;
mod postman;
mod reader;
mod stage;
mod table;
mod watcher;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rand::Rng;

pub use diary::Diary;

use crate::cluster::{Cluster, Options, ServerLog, server_log};
use crate::setup::command::say;
use crate::setup::{self, Tree, Workspace};
use plan::Episode;
use stage::Stage;

/// Whether there are readers in REPEATABLE READ where nothing else is said.
pub const READERS: bool = true;

/// What `cargo chaos` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where chance begins; another one each time when not given
    #[arg(long)]
    seed: Option<u64>,
    /// No episode begins after so many minutes
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// No step but those that end a deployment begins after so many
    #[arg(long)]
    steps: Option<u64>,
    /// Play this episode of the seed only
    #[arg(long)]
    episode: Option<u64>,
    /// Tell each action as it is done
    #[arg(long)]
    aloud: bool,
    /// Let readers in REPEATABLE READ compare the table with the ledger, across swaps
    #[arg(long, default_value_t = READERS, action = clap::ArgAction::Set)]
    readers: bool,
    /// Use what is installed under target/server, without building the clone first
    #[arg(long)]
    installed: bool,
}

/// How long to go on, and where chance begins.
#[derive(Debug, Clone)]
pub struct Course {
    /// Where chance begins.
    pub seed: u64,
    /// No episode and no step begins later, but for those that end a deployment.
    pub time: Duration,
    /// Or after so many steps.
    pub steps: u64,
    /// Only this episode.
    pub episode: Option<u64>,
    /// Tell each action as it is done.
    pub aloud: bool,
    /// Whether readers in REPEATABLE READ compare the table with the ledger.
    pub readers: bool,
}

/// `cargo chaos`.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !arguments.installed {
        setup::install(workspace, Tree::Release)?;
    }
    let course = Course {
        seed: arguments.seed.unwrap_or_else(fresh_seed),
        time: Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0),
        steps: arguments.steps.unwrap_or(u64::MAX),
        episode: arguments.episode,
        aloud: arguments.aloud,
        readers: arguments.readers,
    };
    say(&format!("Chaos with seed {}", course.seed));
    let begun = Instant::now();
    let diary = play(&course)?;
    print!("{diary}");
    say(&format!(
        "Nothing found with seed {}, {:.0} s",
        course.seed,
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// A seed that nobody has chosen; small enough to be typed.
pub fn fresh_seed() -> u64 {
    rand::rng().random_range(0..1_000_000_000)
}

/// Plays until time or steps are used up. The error is the finding, with all that is known of it.
pub fn play(course: &Course) -> Result<Diary> {
    let begun = Instant::now();
    let options = Options::default()
        .set("max_worker_processes", "16")
        .set("max_prepared_transactions", "20")
        .set("log_line_prefix", server_log::PREFIX);
    let mut cluster = Cluster::start(&options)?;
    cluster.create_owner("owner")?;
    cluster.create_owner("app")?;
    cluster.create_owner("reader")?;
    let extensions = Workspace::find()?.extensions(Tree::Release)?;
    let citext = extensions.join("citext.control").is_file();
    let mut log = ServerLog::new(cluster.log_file());
    let mut diary = Diary::new(course.aloud);

    let mut number = course.episode.unwrap_or(1);
    loop {
        let episode = Episode::draw(course.seed, number, citext);
        diary.episodes += 1;
        let more = |diary: &Diary| begun.elapsed() < course.time && diary.steps < course.steps;
        if let Err(error) = act(&cluster, &episode, &mut log, &mut diary, course.readers, more) {
            cluster.keep_files();
            return Err(anyhow!(
                "{error:#}\n\nseed {}, episode {number}, step {}; the last actions:\n{}\n{diary}\
                 the server's log: {}",
                course.seed,
                diary.steps,
                diary.last(),
                cluster.log_file().display()
            ));
        }
        number += 1;
        if course.episode.is_some() || !more(&diary) {
            return Ok(diary);
        }
    }
}

/// Plays an episode. After a finding the server is stopped, so that nobody hangs.
fn act(
    cluster: &Cluster,
    episode: &Episode,
    log: &mut ServerLog,
    diary: &mut Diary,
    readers: bool,
    more: impl FnMut(&Diary) -> bool,
) -> Result<()> {
    let mut stage =
        Stage::open(cluster, episode, log, diary, readers).context("opening the stage")?;
    match stage.play(more) {
        Ok(()) => stage.close(),
        Err(error) => {
            let activity = stage.activity().unwrap_or_default();
            cluster.stop_immediate()?;
            Err(anyhow!("{error:#}\n{}sessions:{activity}", stage.writers_problems()))
        }
    }
}
