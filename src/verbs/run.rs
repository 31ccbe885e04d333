//! CALL bg_run: batches, each committed, with a notice of progress about once a second.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::access;
use crate::model::deployment::Deployment;
use crate::model::phase::{Event, Phase};
use crate::model::server_load::ThrottleReason;
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::xact::{self, Procedure};
use crate::runner::dependents;
use crate::runner::foretell;
use crate::runner::session::Durability;
use crate::runner::session::NOTICE_EVERY;
use crate::runner::session::Session;
use crate::runner::step::{self, Commit};
use crate::runner::throttle::LOOK_EVERY;
use crate::runner::throttle::Throttle;
use crate::runner::worker_pool::WorkerPool;
use crate::state::store;
use crate::sync;
use crate::verbs::finish;
use crate::verbs::status;
use crate::verbs::swap;
use crate::verbs::swap::Misfits;
use crate::verbs::swap_notice::{self, Then};
use crate::verbs::verify::Verification;

/// How long a session that has nothing to copy lets its workers go on before it looks again.
const WORKER_POLL: Duration = Duration::from_millis(10);
/// The same where they take long.
const MAX_IDLE: Duration = Duration::from_millis(100);
/// How long changes are brought in, with rests in between, until the client is told why it takes long; and
/// how often it is told.
const LONG_CHASE: Duration = Duration::from_secs(10);
/// How often a verification stops for a sync.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// Rest before another try where the log is too long.
const LONG_LOG_REST: Duration = Duration::from_secs(1);

/// Where bg_run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Blue is in step.
    Ready,
    /// The new table is live.
    Swapped,
    /// The old table is live again.
    Reverted,
    /// The old table is gone.
    Finished,
}

impl Until {
    /// Reads the argument.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "ready" => Ok(Self::Ready),
            "swapped" => Ok(Self::Swapped),
            "reverted" => Ok(Self::Reverted),
            "finished" => Ok(Self::Finished),
            other => Err(Error::argument(format!("until cannot be '{other}'"))
                .hint("Use 'ready', 'swapped', 'reverted' or 'finished'.")),
        }
    }
}

/// Drives the deployment to `until`; returns the phase reached.
pub(crate) fn run(
    procedure: &Procedure,
    id: i64,
    until: Until,
    settings: &Settings,
    notice: impl Fn(&str),
) -> Result<Phase> {
    let mut runner = Runner {
        session: Session::new(procedure, id, settings, &notice),
        crew: WorkerPool::default(),
        throttle: Throttle::begin(id),
        alone: false,
        swaps: false,
        idle: WORKER_POLL,
        phase: Phase::Prepared,
        waiting: None,
        line: String::new(),
        chases: None,
    };
    runner.session.claim()?;
    let phase = runner.drive(until)?;
    // After an error the claim is gone already, with what was written of the error.
    runner.session.release()?;
    Ok(phase)
}

/// What may be over its limit.
type Look = fn(&mut Throttle, &Settings) -> Result<Option<ThrottleReason>>;

struct Runner<'a> {
    session: Session<'a>,
    /// Workers that copy and build indexes with the session.
    crew: WorkerPool,
    throttle: Throttle,
    /// The next batch must be done without the workers.
    alone: bool,
    /// A swap is tried after the next batches.
    swaps: bool,
    /// How long to wait for others who do all that is left.
    idle: Duration,
    /// The phase after the last batch.
    phase: Phase,
    /// What the deployment's status says that it waits for, by its kind.
    waiting: Option<String>,
    /// The last line about its progress.
    line: String,
    /// Start of the current catch-up; reset after each warning.
    chases: Option<Instant>,
}

impl Runner<'_> {
    fn drive(&mut self, until: Until) -> Result<Phase> {
        if until == Until::Reverted {
            self.require_swapped()?;
        }
        let (mut phase, mut in_step);
        loop {
            (phase, in_step) = self.batch()?;
            if in_step {
                break;
            }
        }
        if phase == Phase::Aborted {
            let id = self.session.id();
            let table = self.session.look(|| store::load(id))?.source.plain();
            return Err(Error::state(format!("the deployment of {table} was aborted"))
                .hint("Begin a new one with SELECT bg_prepare(table, changes)."));
        }
        if matches!(phase, Phase::Ready | Phase::Swapped) {
            // What writers left no moment to cut.
            self.crew.vacuum_logs(&mut self.session)?;
        }
        if phase == Phase::Ready && matches!(until, Until::Swapped | Until::Finished) {
            if self.session.settings().verify_before_swap {
                self.verify()?;
            }
            let then = if until == Until::Finished { Then::All } else { Then::Validates };
            phase = self.swap(Event::Swapped, then)?;
        } else if phase == Phase::Swapped && until == Until::Reverted {
            phase = self.swap(Event::Reverted, Then::All)?;
        }
        // Foreign keys that a swap or a revert has left NOT VALID.
        while let Some(what) =
            self.session.transaction(Durability::Session, |d, _| dependents::validate_next_of(d))?
        {
            self.session.notice(&format!("validated {what}"));
        }
        if phase == Phase::Swapped && until == Until::Finished {
            phase = self.session.transaction(Durability::Session, |d, settings| {
                let _said = finish::finish(d, settings)?;
                Ok(d.phase())
            })?;
        }
        Ok(phase)
    }

    /// Refuses a revert before the swap: a table that is still copied would be copied to its end first.
    fn require_swapped(&mut self) -> Result<()> {
        let ready = self.session.transaction(Durability::Async, |d, _| {
            let ready = d.phase() == Phase::Ready;
            if !ready {
                access::next_phase(d.first(), Event::Reverted)?;
            }
            Ok(ready.then(|| d.first().source.plain()))
        })?;
        if let Some(table) = ready {
            self.session.notice(&format!("{table} is not swapped: the old table is live already"));
        }
        Ok(())
    }

    /// One batch, and the rest after it; whether blue is in step now.
    fn batch(&mut self) -> Result<(Phase, bool)> {
        let began = Instant::now();
        self.crew.forget_ended();
        if self.alone && !self.crew.is_empty() {
            // They end when nothing is left that they can do.
            self.session.tell_if_due(|| "waiting for the background workers to end their work");
            self.session.sleep(WORKER_POLL)?;
            return Ok((self.phase, false));
        }
        let hold = self.crew.hold();
        let commit = if self.swaps { Commit::AtOnceBeforeSwap } else { Commit::AtOnce };
        let (d, batch) = self.session.transaction_as(hold, Durability::Async, |d, settings| {
            // What is over waits for nobody.
            let waits = d.is_paused() && d.is_open();
            let batch = if waits { None } else { Some(step::next(d, settings, hold, commit)?) };
            Ok((d.read(), batch))
        })?;
        let Some(batch) = batch else {
            self.wait_for(Some(paused()))?;
            return Ok((d.phase(), false));
        };
        self.wait_for(None)?;
        self.tell_progress(&d, batch.in_step)?;
        self.measure(&d)?;
        self.tell_of_chase(&d, batch.in_step);
        self.alone = batch.alone;
        let grows = d.phase() < Phase::Ready;
        if batch.throttled && batch.worked {
            self.rest(began.elapsed(), if grows { Throttle::obstacle } else { Throttle::load })?;
        } else if batch.worked && grows {
            self.hold_back(Throttle::full)?;
        } else if !batch.worked && !batch.in_step && !batch.alone {
            self.session.sleep(self.idle)?;
            self.idle = (self.idle * 2).min(MAX_IDLE);
        }
        if batch.worked {
            self.idle = WORKER_POLL;
        }
        for member in d.members() {
            let p = &member.progress;
            if member.phase == Phase::Indexing && p.purged && !p.vacuumed {
                self.crew.vacuum(&mut self.session, member.id)?;
            }
        }
        if d.phase() != self.phase {
            self.crew.begin_phase();
        }
        if !self.alone {
            self.crew.start(&mut self.session, &d)?;
        }
        self.phase = d.phase();
        Ok((self.phase, batch.in_step || !d.is_open()))
    }

    /// Tells how far it is, about once a second.
    fn tell_progress(&mut self, d: &Deployment, in_step: bool) -> Result<()> {
        if self.session.is_due() {
            let settings = self.session.settings();
            self.line = self.session.look(|| status::progress_lines(d, settings, in_step))?;
            self.session.commit()?;
            self.session.tell(&self.line);
        }
        Ok(())
    }

    /// Measures what is foretold by a sample, once in a deployment.
    fn measure(&mut self, d: &Deployment) -> Result<()> {
        if d.is_paused() || !d.members().any(foretell::is_due) {
            return Ok(());
        }
        self.session.transaction_as(self.crew.hold(), Durability::Async, foretell::measure)
    }

    /// Tells when writers may be faster than a sync that rests.
    fn tell_of_chase(&mut self, d: &Deployment, in_step: bool) {
        let settings = self.session.settings();
        let rests = settings.nice > 0.0 || settings.max_wal_rate > 0;
        if !rests || !d.members().any(step::syncs) || in_step {
            self.chases = None;
            return;
        }
        let since = *self.chases.get_or_insert_with(Instant::now);
        if since.elapsed() >= LONG_CHASE {
            self.chases = Some(Instant::now());
            self.session.notice(
                "still bringing changes in: writers who are faster than a sync that rests are not caught up with. If pending_changes of bg_status grows, call again with a lower bluegreen.nice or a higher bluegreen.max_wal_rate; what is done stays",
            );
        }
    }

    /// Rests after a batch as the settings say, and then holds back.
    fn rest(&mut self, took: Duration, look: Look) -> Result<()> {
        let settings = self.session.settings();
        let mut left = self.throttle.rest(settings, took, self.crew.processes());
        while !left.is_zero() {
            let part = left.min(NOTICE_EVERY);
            self.session.sleep(part)?;
            left -= part;
            if !left.is_zero() {
                if !self.is_wanted()? {
                    return Ok(());
                }
                let why = "resting as bluegreen.nice and bluegreen.max_wal_rate ask for";
                self.session.tell(&format!("{} ({why})", self.line));
            }
        }
        self.hold_back(look)
    }

    /// Waits while something is over its limit; no longer than until the deployment is paused or over.
    fn hold_back(&mut self, look: Look) -> Result<()> {
        let settings = self.session.settings();
        while let Some(obstacle) = self.session.look(|| look(&mut self.throttle, settings))? {
            // No snapshot while we wait.
            self.session.commit()?;
            if !self.is_wanted()? {
                break;
            }
            self.wait_for(Some(obstacle))?;
        }
        self.wait_for(None)
    }

    /// Whether the deployment is neither paused nor over.
    fn is_wanted(&self) -> Result<bool> {
        let id = self.session.id();
        let d = self.session.look(|| store::read(id))?;
        self.session.commit()?;
        Ok(!d.is_paused() && d.is_open())
    }

    /// Sleeps briefly and publishes the throttle's reason in bg_status; None clears it.
    fn wait_for(&mut self, obstacle: Option<ThrottleReason>) -> Result<()> {
        let what = obstacle.as_ref().map(|o| &o.what);
        if self.waiting.as_ref() != what {
            let waiting = obstacle.as_ref().map(|o| (o.why.clone(), clock::now()));
            self.session.transaction_as(self.crew.hold(), Durability::Async, |d, _| {
                d.members_mut().try_for_each(|member| {
                    member.progress.waiting = waiting.clone();
                    store::save(member)
                })
            })?;
        }
        if let Some(obstacle) = &obstacle {
            self.session.tell_if_due(|| format!("waiting: {}", obstacle.why));
            self.session.sleep(LOOK_EVERY)?;
        }
        self.waiting = obstacle.map(|o| o.what);
        Ok(())
    }

    /// Compares the tables in committed batches, and refuses to go on where they differ. Syncs now and
    /// then, so that the log does not grow meanwhile.
    fn verify(&mut self) -> Result<()> {
        let mut verification =
            self.session.transaction(Durability::Async, |d, _| Verification::begin(&d.read()))?;
        let mut synced = Instant::now();
        loop {
            let began = Instant::now();
            let done = self.session.transaction(Durability::Async, |d, settings| {
                let over = d.phase() != Phase::Ready;
                let waits = d.is_paused() && !over;
                Ok(if waits { None } else { Some(over || verification.step(&d.read(), settings)?) })
            })?;
            match done {
                None => self.wait_for(Some(paused()))?,
                Some(true) => break,
                Some(false) => {
                    self.session.tell_if_due(|| verification.progress());
                    self.rest(began.elapsed(), Throttle::load)?;
                }
            }
            if synced.elapsed() >= SYNC_EVERY {
                while !self.batch()?.1 {}
                synced = Instant::now();
            }
        }
        self.session.transaction(Durability::Session, |d, _| verification.verdict(&d.read()))
    }

    /// Syncs and tries, each committed by itself, until the swap, or its revert, is made or the time is over.
    fn swap(&mut self, event: Event, then: Then) -> Result<Phase> {
        let (name, from) = match event {
            Event::Reverted => ("revert", Phase::Swapped),
            _ => ("swap", Phase::Ready),
        };
        self.swaps = true;
        if event == Event::Swapped {
            self.refresh_outdated()?;
        }
        let until = Instant::now() + self.session.settings().retry_for;
        let foretold = self
            .session
            .transaction(Durability::Async, |d, _| swap_notice::notice(&d.read(), then))?;
        loop {
            let quick = Settings {
                retry_for: self.session.settings().retry_for.min(Duration::from_secs(2)),
                ..self.session.settings().clone()
            };
            let last = Instant::now() + quick.retry_for >= until;
            let tried = self.session.transaction(Durability::Session, |d, _| {
                if d.phase() != from {
                    return Ok(Ok(d.phase()));
                }
                let tried = xact::subtransaction(|| {
                    swap::swap(d, &quick, event, Misfits::Refuse, false)?;
                    Ok(d.phase())
                });
                match tried {
                    Ok(phase) => Ok(Ok(phase)),
                    Err(caught) if !last && may_pass(&caught.error) => Ok(Err(caught.error)),
                    Err(caught) => caught.raise(),
                }
            })?;
            match tried {
                Ok(phase) => {
                    if let Some(notice) = foretold {
                        self.session.notice(&notice);
                    }
                    return Ok(phase);
                }
                Err(why) => {
                    self.session.notice(&format!("{name}: {}; trying again", why.message));
                    if why.kind == ErrorKind::OldSnapshot && self.waits_on()? {
                        continue;
                    }
                    if why.kind == ErrorKind::LongLog {
                        self.session.sleep(LONG_LOG_REST)?;
                        self.crew.vacuum_logs(&mut self.session)?;
                    }
                }
            }
            while !self.batch()?.1 {}
        }
    }

    /// Fills the materialized views again whose live ones have been refreshed since, each once. (A revert is not
    /// put off for that.)
    fn refresh_outdated(&mut self) -> Result<()> {
        let mut filled = Vec::new();
        while let Some(name) = self.session.transaction(Durability::Async, |d, _| {
            if d.phase() != Phase::Ready || d.is_paused() {
                return Ok(None);
            }
            dependents::refresh_next_outdated_of(d, &filled)
        })? {
            self.session.notice(&format!("filled {name} again: the live one has been refreshed"));
            filled.push(name);
        }
        Ok(())
    }

    /// Whether a swap that waits for snapshots goes on to wait without a sync, which may make it wait for
    /// younger ones too: as long as it can bring in by itself what was written meanwhile.
    fn waits_on(&self) -> Result<bool> {
        let (id, settings) = (self.session.id(), self.session.settings());
        let waits_on = self.session.look(|| {
            let d = store::read(id)?;
            if d.is_paused() || !d.is_open() {
                return Ok(false);
            }
            for member in d.members() {
                let allowed = swap::allowed_backlog(member, settings);
                let waiting = sync::backlog_at_once(member, allowed + 1)?;
                if waiting.is_none_or(|waiting| waiting > allowed) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        self.session.commit()?;
        Ok(waits_on)
    }
}

/// A pause by bg_pause.
fn paused() -> ThrottleReason {
    ThrottleReason { what: "pause".to_owned(), why: "bg_resume".to_owned() }
}

/// Errors of a swap that another committed sync, or a moment's wait, may cure.
fn may_pass(error: &Error) -> bool {
    error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE || swap::is_backlog(error)
}
