//! `cargo demo`: the change of a live table, from check to finish, before your eyes.
//!
//! A throwaway cluster, a table `users` of a million rows that belongs to a role without any special
//! right, and writers that insert, update and delete all the time and enter each change in a ledger
//! in the same transaction. Under them the table gets a column, by swap, revert and swap again. What
//! is reported as lost is counted from the ledger.

mod phones;
mod report;
mod screen;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgres::error::SqlState;
use postgres::{Client, NoTls};

use crate::cluster::{Cluster, Options, SUPERUSER};
use crate::journal::{self, Schema, Voice, Workload, Writers};
use crate::setup::{self, Tree, Workspace};
use phones::Phones;
use report::{Outcome, Step};
use screen::Screen;

/// The table's owner and everybody's role here.
const OWNER: &str = "app";

/// How often a swap is tried that refuses because too much was written since the sync.
const ATTEMPTS: u32 = 10;

/// What `cargo demo` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Rows of the table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1000..))]
    rows: i64,
    /// Clients that write all the time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    writers: u16,
}

/// Sets up what is missing, runs the story, and prints the report. An error when a committed write
/// was lost or a client got an error.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::install(workspace, Tree::Release)?;
    let screen = Screen::new();

    let cluster = Cluster::start(&Options::default())?;
    cluster.install_extension("postgres")?;
    cluster.create_owner(OWNER)?;
    let version = cluster.psql("SHOW server_version")?;
    screen.line(&format!(
        "PostgreSQL {version}, a throwaway cluster. Filling the table users with {} rows …",
        screen::grouped(arguments.rows)
    ));
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    table::create(&mut admin, OWNER, arguments.rows, arguments.rows / 100)?;

    let schema = Schema::users();
    journal::open(&mut admin, &schema, OWNER)?;
    phones::open(&mut admin, OWNER)?;
    screen.line(&format!(
        "It belongs to the role {OWNER}, which is no superuser and may create nothing. {} clients\n\
         insert, update and delete, and enter each change in a ledger in the same transaction.",
        arguments.writers
    ));

    let workload = Workload {
        writers: usize::from(arguments.writers),
        voices: Voice::ALL.to_vec(),
        pace: Some(100.0),
        shared: arguments.rows / 10,
        ..Workload::default()
    };
    let writers = Writers::start(&cluster.config(OWNER, "postgres"), &schema, &workload)?;
    let mut story = Story::new(&cluster, &schema, writers, screen)?;
    let told = story.tell();
    if told.is_err() {
        eprintln!("the server's log:\n{}\n", cluster.log_tail());
    }
    // Not by a session that an end of the server has taken along.
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    let outcome = story.end(&mut admin);
    if let Ok(outcome) = &outcome {
        outcome.print();
    }
    told?;
    outcome?.check()
}

/// The demo while it runs.
struct Story<'a> {
    cluster: &'a Cluster,
    schema: &'a Schema,
    writers: Writers,
    screen: Screen,
    client: Client,
    steps: Vec<Step>,
    phones_written: u64,
    errors: Vec<String>,
}

impl<'a> Story<'a> {
    fn new(
        cluster: &'a Cluster,
        schema: &'a Schema,
        writers: Writers,
        screen: Screen,
    ) -> Result<Self> {
        let mut config = cluster.config(OWNER, "postgres");
        config.application_name("demo").notice_callback(screen.notices());
        let client = config.connect(NoTls).context("connecting for the demo")?;
        let (steps, errors) = (Vec::new(), Vec::new());
        Ok(Self { cluster, schema, writers, screen, client, steps, phones_written: 0, errors })
    }

    fn tell(&mut self) -> Result<()> {
        const CHANGES: &str = "ADD COLUMN phone text, ALTER COLUMN id TYPE bigint";
        self.pause("before", 2)?;

        self.check(CHANGES)?;
        self.verb("prepare", &format!("SELECT bg_prepare('users', '{CHANGES}')"))?;
        self.verb("run", "CALL bg_run('users')")?;
        self.look_into_blue()?;
        self.exchange(["sync", "swap"], "SELECT bg_swap('users')")?;
        self.write_phones("writes", 2)?;
        self.balance()?;
        // The clients that know the column stop before it goes; what they wrote comes back with it.
        self.exchange(["sync back", "revert"], "SELECT bg_revert('users')")?;
        self.pause("reverted", 2)?;
        self.balance()?;
        // The same in one call, which syncs and tries by itself.
        self.verb("swap again", "CALL bg_run('users', 'swapped')")?;
        self.write_phones("more writes", 2)?;
        self.verb("finish", "SELECT bg_finish('users')")?;
        self.pause("after", 1)?;
        self.balance()
    }

    /// Prints what the preflight finds; an error among it ends the story.
    fn check(&mut self, changes: &str) -> Result<()> {
        let sql = format!(
            "SELECT severity, coalesce(object, ''), message FROM bg_check('users', '{changes}')"
        );
        self.begin("check", &sql);
        let begin = Instant::now();
        let rows = self.client.query(&sql, &[]).context("bg_check")?;
        self.done("check", begin, None);
        let mut refused = false;
        for row in &rows {
            let (severity, object, message): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            refused |= severity == "error";
            self.screen.detail(&format!("{severity}: {message} {object}"));
        }
        if rows.is_empty() {
            self.screen.detail("nothing to object to");
        }
        if refused {
            bail!("bg_check found errors");
        }
        Ok(())
    }

    /// A sync and then the swap or the revert. These do the last bit of the sync themselves, and
    /// refuse when it is too much for that: then once more, as their hint says.
    fn exchange(&mut self, [sync, exchange]: [&str; 2], sql: &str) -> Result<()> {
        for _ in 1..ATTEMPTS {
            self.verb(sync, "CALL bg_run('users')")?;
            match self.verb(exchange, sql) {
                Err(error) if is_backlog(&error) => self.screen.detail(&format!("{error:#}")),
                result => return result,
            }
        }
        self.verb(sync, "CALL bg_run('users')")?;
        self.verb(exchange, sql)
    }

    /// One call, its NOTICEs on the screen, and the phase that it returns.
    fn verb(&mut self, name: &str, sql: &str) -> Result<()> {
        self.begin(name, sql);
        let begin = Instant::now();
        let messages = self.client.simple_query(sql);
        self.screen.end_of_progress();
        let messages = messages.with_context(|| sql.to_owned())?;
        let phase = messages.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        self.done(name, begin, phase);
        Ok(())
    }

    /// The blue environment is a search_path: the same names, the new definition.
    fn look_into_blue(&mut self) -> Result<()> {
        let path = "SET search_path = public_blue, public";
        let select = "SELECT * FROM users ORDER BY id DESC LIMIT 3";
        self.begin("look", &format!("{path}; {select}"));
        let begin = Instant::now();
        let mut blue = self.cluster.connect(OWNER, "postgres")?;
        blue.batch_execute(path).context("turning to the blue environment")?;
        let table = screen::table(&blue.simple_query(select).context("looking into blue")?);
        let refused = blue.batch_execute("UPDATE users SET name = name WHERE id = 0");
        self.done("look", begin, None);
        for line in table {
            self.screen.detail(&line);
        }
        match refused {
            Ok(()) => bail!("a write to the blue table was not refused"),
            Err(error) => {
                let message = error.as_db_error().map(|e| e.message().to_owned());
                let message = message.unwrap_or_else(|| error.to_string());
                self.screen.detail(&format!("UPDATE users … in there: {message}"));
            }
        }
        Ok(())
    }

    /// Lets the clients work, and one more that fills the new column.
    fn write_phones(&mut self, name: &str, seconds: u64) -> Result<()> {
        self.begin(name, "UPDATE users SET phone = … WHERE id = …");
        let begin = Instant::now();
        let phones = Phones::start(&self.cluster.config(OWNER, "postgres"))?;
        std::thread::sleep(Duration::from_secs(seconds));
        match phones.stop() {
            Ok(written) => self.phones_written += written,
            Err(error) => self.errors.push(format!("{error:#}")),
        }
        self.done(name, begin, None);
        Ok(())
    }

    /// Lets the clients work.
    fn pause(&mut self, name: &str, seconds: u64) -> Result<()> {
        self.begin(name, "the clients write");
        let begin = Instant::now();
        std::thread::sleep(Duration::from_secs(seconds));
        self.done(name, begin, None);
        Ok(())
    }

    /// Puts the table beside the ledger, while the clients go on.
    fn balance(&mut self) -> Result<()> {
        let balance = journal::balance(&mut self.client, self.schema)?;
        let rows = screen::grouped(balance.table.rows);
        self.screen.detail(&match balance.check() {
            Ok(()) => format!("{rows} rows: table and ledger agree"),
            Err(error) => format!("{error:#}"),
        });
        Ok(())
    }

    fn begin(&self, name: &str, what: &str) {
        self.writers.phase(name);
        self.screen.step(name, what);
    }

    fn done(&mut self, name: &str, begin: Instant, phase: Option<String>) {
        let took = begin.elapsed();
        if let Some(phase) = phase {
            self.screen.detail(&format!("{phase}, {:.3} s", took.as_secs_f64()));
        }
        // A step that is repeated counts once, with the time of all.
        match self.steps.iter_mut().find(|step| step.name == name) {
            Some(step) => step.took += took,
            None => self.steps.push(Step { name: name.to_owned(), took }),
        }
    }

    /// Stops the clients and adds up.
    fn end(self, admin: &mut Client) -> Result<Outcome> {
        let report = self.writers.stop();
        Ok(Outcome {
            balance: journal::balance(admin, self.schema)?,
            phones_lost: phones::lost(admin)?,
            phones_written: self.phones_written,
            report,
            steps: self.steps,
            errors: self.errors,
        })
    }
}

/// Whether a swap refused because of what had been written since the last sync.
fn is_backlog(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<postgres::Error>().and_then(postgres::Error::as_db_error);
    error.is_some_and(|error| {
        *error.code() == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
            && error.message().contains("wait to be synced")
    })
}
