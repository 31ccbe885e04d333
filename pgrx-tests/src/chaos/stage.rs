//! One episode at work: a database with its table, writers on it, and whoever acts.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::diary::Diary;
use super::fault::{Damage, Target};
use super::invariant::{self, Status};
use super::likeness;
use super::observer::Observer;
use super::operator::{Operator, Outcome, Refusal};
use super::plan::{Act, Blow, Ending, Episode, Fault, Step, Verb};
use super::postman::Postman;
use super::reader::Reader;
use crate::cluster::{Cluster, SUPERUSER, ServerLog};
use crate::journal::{self, Writers};
use crate::setup::command::output;

/// Refusals that say what to do; everything else has to be excused by a fault.
const REFUSALS: [&str; 4] = ["55000", "55006", "55P03", "25001"];
/// Why bg_prepare may refuse changes by chance: the episode is over then.
const UNPREPARABLE: [&str; 6] = ["0A000", "2BP01", "42804", "22023", "42P16", "55000"];
/// After this time a call that waits for bg_resume gets it.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this time writers rest until the call has ended: a sync that rows which do not fit make slow
/// need not be as fast as they are.
const FAIR: Duration = Duration::from_secs(30);
/// After this time a call hangs.
const HANGS: Duration = Duration::from_secs(120);

/// An episode at work.
pub struct Stage<'a> {
    cluster: &'a Cluster,
    episode: &'a Episode,
    log: &'a mut ServerLog,
    diary: &'a mut Diary,
    database: String,
    writers: Writers,
    observer: Observer,
    reader: Option<Reader>,
    postman: Option<Postman>,
    /// The definition of everything, before.
    dump: String,
    /// Whether somebody has added to the table meanwhile.
    altered: bool,
}

impl<'a> Stage<'a> {
    /// Makes the database, the table, the account, and lets the writers begin.
    pub fn open(
        cluster: &'a Cluster,
        episode: &'a Episode,
        log: &'a mut ServerLog,
        diary: &'a mut Diary,
        readers: bool,
    ) -> Result<Self> {
        let database = format!("chaos{}", episode.number);
        cluster
            .connect(SUPERUSER, "postgres")?
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .context("making the database")?;
        cluster.install_extension(&database)?;
        let mut admin = cluster.connect(SUPERUSER, &database)?;
        for statement in &episode.table.make {
            admin
                .batch_execute(statement)
                .with_context(|| format!("making the table: {statement}"))?;
        }
        journal::open(&mut admin, &episode.table.schema, "app")?;
        likeness::remember(&mut admin, &episode.table)?;
        if let Some(statement) = &episode.table.afterwards {
            admin.batch_execute(statement).with_context(|| statement.clone())?;
        }
        let dump = dump(cluster, &database)?;
        let writers = Writers::start(
            &cluster.config("app", &database),
            &episode.table.schema,
            &episode.workload,
        )?;
        let observer =
            Observer::start(&cluster.config(SUPERUSER, &database), &episode.table.schema)?;
        let schema = &episode.table.schema;
        // TRUNCATE empties a table for older snapshots too.
        let reader = (readers && episode.workload.truncate.is_none())
            .then(|| Reader::start(&cluster.config(SUPERUSER, &database), schema))
            .transpose()?;
        let postman = episode.table.children.map(|_| {
            Postman::start(&cluster.config("app", &database), schema, episode.workload.seed)
        });
        let postman = postman.transpose()?;
        diary.note(format!(
            "episode {}: {} with {} rows, bg_prepare({}), {} writers",
            episode.number,
            episode.table.name,
            episode.table.rows,
            episode.table.arguments,
            episode.workload.writers
        ));
        for (what, there) in [
            ("caseless", format!("{:?}", episode.table.caseless)),
            ("children", format!("{:?}", episode.table.children)),
            ("event trigger", format!("{:?}", episode.table.trespasser)),
        ] {
            if there != "None" {
                diary.note(format!("  {what}: {there}"));
            }
        }
        Ok(Self {
            cluster,
            episode,
            log,
            diary,
            database,
            writers,
            observer,
            reader,
            postman,
            dump,
            altered: false,
        })
    }

    /// Plays all of it, `more` tells whether there is time for another step.
    pub fn play(&mut self, mut more: impl FnMut(&Diary) -> bool) -> Result<()> {
        let episode = self.episode;
        for (number, step) in episode.steps.iter().enumerate() {
            if number > 0 && !more(self.diary) {
                break;
            }
            let (refusal, status) = self.step(step)?;
            if number == 0 && status.open.is_none() {
                if let Some(refusal) = refusal
                    && step.blows.is_empty()
                    && refusal.code.as_ref().is_some_and(|c| UNPREPARABLE.contains(&c.as_str()))
                {
                    self.diary.unprepared += 1;
                    return Ok(());
                }
                self.step(&calm(Verb::Prepare))?;
            }
        }
        self.end()
    }

    /// Lets the writers go home, and looks at everything once more.
    pub fn close(self) -> Result<()> {
        self.diary.looks += self.observer.looks();
        self.diary.snapshots += self.reader.as_ref().map_or(0, Reader::looks);
        self.diary.letters += self.postman.as_ref().map_or(0, Postman::moved);
        drop((self.observer, self.reader, self.postman));
        let report = self.writers.stop();
        self.diary.written += report.committed + report.unanswered;
        for (code, count) in &report.tolerated {
            *self.diary.tolerated.entry(code.clone()).or_default() += count;
        }
        report.check().context("a writer")?;
        invariant::examine(self.cluster, &self.database, &self.episode.table)?;
        self.cluster
            .connect(SUPERUSER, "postgres")?
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database))
            .context("dropping the database")
    }

    /// Ends the deployment in the way that was drawn, or in the other one where rows do not fit.
    fn end(&mut self) -> Result<()> {
        let mut client = invariant::inspector(self.cluster, &self.database)?;
        let mut status = invariant::status(&mut client)?;
        drop(client);
        let episode = self.episode;
        let mut blow = episode.blow;
        for attempt in 0..10 {
            if status.open.is_none() {
                if status.phase == "aborted" && !self.altered {
                    self.is_as_it_was()?;
                }
                return Ok(());
            }
            if status.paused {
                self.step(&calm(Verb::Resume))?;
            }
            if self.altered {
                self.step(&calm(Verb::Prepare))?;
            }
            let finish = (episode.ending == Ending::Finish) != (attempt / 3 % 2 == 1);
            let swapped = status.phase == "swapped";
            let verb = match (finish, swapped) {
                // It does not compare definitions, so it always leads out.
                (true, true) if attempt > 0 => Verb::Finish,
                (true, _) => Verb::Run("finished"),
                (false, true) => {
                    self.step(&calm(Verb::Run("swapped")))?;
                    Verb::Revert
                }
                (false, false) => Verb::Abort,
            };
            let mut step = calm(verb);
            step.blows.extend(blow.take());
            if attempt == 0 {
                // Somebody else has not heard that it ends.
                step.acts.extend(episode.rival.clone());
            }
            (_, status) = self.step(&step)?;
        }
        bail!("the deployment could not be ended: {status:?}")
    }

    /// After an abort everything is defined as it was before.
    fn is_as_it_was(&self) -> Result<()> {
        let now = dump(self.cluster, &self.database)?;
        if now == self.dump {
            return Ok(());
        }
        let (before, after): (Vec<&str>, Vec<&str>) =
            (self.dump.lines().collect(), now.lines().collect());
        let lost: Vec<&&str> = before.iter().filter(|line| !after.contains(line)).collect();
        let new: Vec<&&str> = after.iter().filter(|line| !before.contains(line)).collect();
        bail!("an abort leaves another definition: lost {lost:?}, new {new:?}")
    }

    /// One step, and what must hold after it. The first refusal, and where the deployment stands.
    fn step(&mut self, step: &Step) -> Result<(Option<Refusal>, Status)> {
        thread::sleep(step.rest);
        self.diary.steps += 1;
        let number = self.diary.steps;
        let mut damage = Damage::default();
        let mut operators = Vec::new();
        for (place, act) in step.acts.iter().enumerate() {
            if place > 0 {
                thread::sleep(step.apart);
            }
            let operator = Operator::call(self.cluster, &self.database, &self.episode.table, act)?;
            let settings: Vec<String> = act
                .settings
                .iter()
                .map(|(name, value)| format!("{}={value}", name.trim_start_matches("bluegreen.")))
                .collect();
            self.diary.note(format!(
                "step {number}: {} in {} ({})",
                act.verb,
                operator.pid,
                settings.join(" ")
            ));
            operators.push(operator);
        }
        for blow in &step.blows {
            self.deal(&mut damage, &operators, *blow)?;
        }
        let mut first = None;
        for operator in &operators {
            let outcome = self.wait(operator)?;
            let refusal = self.judge(operator, outcome, &damage, step)?;
            first = first.or(refusal);
        }
        damage.pass();
        Ok((first, self.settle()?))
    }

    fn deal(&mut self, damage: &mut Damage, operators: &[Operator], blow: Blow) -> Result<()> {
        thread::sleep(blow.after);
        let runners: Vec<i32> = operators.iter().map(|operator| operator.pid).collect();
        let target = Target {
            cluster: self.cluster,
            database: &self.database,
            table: &self.episode.table,
            runners: &runners,
        };
        let hit = damage.deal(&target, blow)?;
        if let Some(whom) = hit {
            *self.diary.faults.entry(blow.fault).or_default() += 1;
            self.altered |= [Fault::Index, Fault::Comment].contains(&blow.fault);
            self.diary.note(format!(
                "  after {} ms {:?}{whom}",
                blow.after.as_millis(),
                blow.fault
            ));
        }
        Ok(())
    }

    /// Waits for a call; resumes the deployment where it waits for that.
    fn wait(&mut self, operator: &Operator) -> Result<(Outcome, Duration)> {
        let mut resting = false;
        loop {
            let limit = if operator.elapsed() < PATIENCE {
                PATIENCE.saturating_sub(operator.elapsed())
            } else {
                Duration::from_secs(1)
            };
            if let Some(ended) = operator.outcome(limit.max(Duration::from_millis(1))) {
                if resting {
                    self.writers.go_on();
                }
                return Ok(ended);
            }
            if operator.elapsed() > FAIR && !resting {
                resting = true;
                self.diary.note(format!("  {} waits: the writers rest", operator.verb));
                let _ = self.writers.pause_within(Duration::ZERO);
            }
            if operator.elapsed() > HANGS {
                bail!("{} hangs: {}", operator.verb, self.activity()?);
            }
            let mut client = invariant::inspector(self.cluster, &self.database)?;
            let status = invariant::status(&mut client)?;
            if status.paused && status.open.is_some() {
                let resume = Verb::Resume.sql(&self.episode.table);
                // Somebody else may be at it.
                let resumed = client.simple_query(&resume).is_ok();
                self.diary.note(format!("  {} waits: bg_resume, {resumed}", operator.verb));
            }
        }
    }

    /// Whether a call ended as it may; its refusal, if it was one.
    fn judge(
        &mut self,
        operator: &Operator,
        (outcome, took): (Outcome, Duration),
        damage: &Damage,
        step: &Step,
    ) -> Result<Option<Refusal>> {
        let took = took.as_millis();
        let refusal = match outcome {
            Outcome::Done(result) => {
                self.diary.note(format!("  {} -> {result}, {took} ms", operator.verb));
                self.diary.call(operator.verb.clone(), false);
                self.diary.deployments +=
                    u64::from(operator.verb == "bg_prepare" && result == "prepared");
                return Ok(None);
            }
            Outcome::Failed(refusal) => refusal,
        };
        self.diary.note(format!("  {} -> {}, {took} ms", operator.verb, refusal.text()));
        self.diary.call(operator.verb.clone(), true);
        // Only our own indexes and comments change a definition.
        let changed = refusal.message.contains("changed during the deployment");
        ensure!(self.altered || !changed, "{}: {}", operator.verb, refusal.text());
        let code = refusal.code.clone().unwrap_or_default();
        let prepares = step.acts.iter().any(|act| act.verb == Verb::Prepare);
        let known = REFUSALS.contains(&code.as_str())
            || damage.excuses(operator.pid, &refusal)
            || (code == "57014" && step.acts.iter().any(Act::may_time_out))
            || (code == "40001" && step.acts.iter().filter(|act| act.may_conflict()).count() > 1)
            || (prepares && UNPREPARABLE.contains(&code.as_str()));
        ensure!(known, "{}: {}", operator.verb, refusal.text());
        let hint = if refusal.hint { "" } else { " (no hint)" };
        *self
            .diary
            .refusals
            .entry(format!("{} {code} {}{hint}", operator.verb, kind_of(&refusal.message)))
            .or_default() += 1;
        Ok(Some(refusal))
    }

    /// Lets the writers stand still and looks at everything.
    fn settle(&mut self) -> Result<Status> {
        let still = self.writers.pause_within(Duration::from_secs(90));
        ensure!(still, "the writers do not come to an end: {}", self.activity()?);
        ensure!(!self.writers.any_gave_up(), "a writer has given up");
        let reader = self.reader.as_ref().and_then(Reader::problem);
        let postman = self.postman.as_ref().and_then(Postman::problem);
        if let Some(problem) = self.observer.problem().or(reader).or(postman) {
            bail!("{problem}");
        }
        let health = invariant::examine(self.cluster, &self.database, &self.episode.table)?;
        self.diary.verified += health.verified;
        if let Some(refusal) = &health.not_compared {
            self.diary.note(format!("  not compared: {}", refusal.text()));
        }
        let status = health.status;
        self.diary.note(format!("  {}, {} misfits", status.phase, status.misfits));
        let alarms = self.log.alarms()?;
        ensure!(alarms.is_empty(), "the server's log: {}", alarms.join("\n"));
        self.writers.go_on();
        Ok(status)
    }

    /// Lets the writers go and says what they had.
    pub fn writers_problems(self) -> String {
        let report = self.writers.stop();
        report.problems.iter().map(|p| format!("writer {}: {}\n", p.writer, p.message)).collect()
    }

    /// Who does what and waits for whom.
    pub fn activity(&self) -> Result<String> {
        let rows = invariant::inspector(self.cluster, &self.database)?
            .query(
                "SELECT concat_ws(' ', pid, application_name, state, wait_event_type, wait_event,
                     pg_catalog.pg_blocking_pids(pid)::text, left(query, 200))
                 FROM pg_catalog.pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid()",
                &[],
            )
            .context("looking who does what")?;
        Ok(rows.iter().map(|row| format!("\n    {}", row.get::<_, String>(0))).collect())
    }
}

/// A call that nothing disturbs.
fn calm(verb: Verb) -> Step {
    let settings = vec![("bluegreen.retry_for", "10s".to_owned())];
    Step {
        acts: vec![Act { verb, settings }],
        apart: Duration::ZERO,
        blows: Vec::new(),
        rest: Duration::ZERO,
    }
}

/// What everything in `public` is defined as.
fn dump(cluster: &Cluster, database: &str) -> Result<String> {
    let text =
        output(cluster.command("pg_dump").args(["--schema-only", "--schema=public", database]))?;
    // Newer servers print a key by chance there.
    Ok(text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n"))
}

/// The message without what differs from time to time.
fn kind_of(message: &str) -> String {
    let mut kind: String =
        message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(100).collect();
    while kind.contains("##") {
        kind = kind.replace("##", "#");
    }
    kind
}
