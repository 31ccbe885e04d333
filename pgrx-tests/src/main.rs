//! The commands of this repository: `cargo demo`, `cargo verify`, `cargo compare`, `cargo chaos`,
//! `cargo docs`, `cargo packages`.

use std::process::ExitCode;

use anyhow::Result;
use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER};
use bluegreen_tests::setup::command::say;
use bluegreen_tests::setup::{self, Major, Tree, Workspace};
use bluegreen_tests::{chaos, compare, demo, documents, packages, verify};
use clap::{Parser, Subcommand};

/// Demo, tests and comparison of pg_bluegreen. Each sets up what is missing first.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
    /// The major version of PostgreSQL; 15 where Debian has it, else the newest
    #[arg(long, global = true, value_enum, value_name = "MAJOR")]
    pg: Option<Major>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Change a table of a million rows under live writes, before your eyes
    Demo(demo::Arguments),
    /// Run every check of the repository: format, lints, tests inside and outside the server
    Verify(verify::Arguments),
    /// Measure a whole change and the cost of capture, beside what they are measured by
    Compare(compare::Arguments),
    /// Deploy random tables under random writers while random things go wrong
    Chaos(chaos::Arguments),
    /// Build the documents as a site in target/book, and check every link
    Docs,
    /// Make the packages of a version in target/packages, and try them
    Packages(packages::Arguments),
    /// Set up what is missing and install the extension, nothing else
    Setup(Build),
    /// Start a throwaway cluster with the extension and leave it running until Ctrl-C
    Shell(Build),
}

#[derive(Debug, clap::Args)]
struct Build {
    /// Build with the named failure points, into a server tree of its own
    #[arg(long)]
    failpoints: bool,
}

impl Build {
    fn tree(&self) -> Tree {
        if self.failpoints { Tree::Failpoints } else { Tree::Release }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow's Debug adds where RUST_BACKTRACE is set.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(major) = arguments.pg {
        major.choose()?;
    }
    let workspace = Workspace::find()?;
    match arguments.command {
        Task::Demo(arguments) => demo::run(&workspace, &arguments),
        Task::Verify(arguments) => verify::run(&workspace, &arguments),
        Task::Compare(arguments) => compare::run(&workspace, &arguments),
        Task::Chaos(arguments) => chaos::run(&workspace, &arguments),
        Task::Docs => documents::book::run(&workspace),
        Task::Packages(arguments) => packages::run(&workspace, &arguments),
        Task::Setup(build) => setup::install(&workspace, build.tree()),
        Task::Shell(build) => {
            setup::install(&workspace, build.tree())?;
            shell(build.tree())
        }
    }
}

/// A cluster to try things in, with the extension and the role `app`.
fn shell(tree: Tree) -> Result<()> {
    let cluster = Cluster::start(&Options::default().tree(tree))?;
    cluster.install_extension("postgres")?;
    cluster.create_owner("app")?;
    println!("psql \"{}\"", cluster.conn_string(SUPERUSER, "postgres"));
    println!("psql \"{}\"", cluster.conn_string("app", "postgres"));
    println!("log: {}", cluster.log_file().display());
    say("Running. Ctrl-C stops it and removes its files.");
    loop {
        std::thread::park();
    }
}
