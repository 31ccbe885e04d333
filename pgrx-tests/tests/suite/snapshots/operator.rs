//! The one who exchanges the tables, and for how long each exchange is tried.

use std::time::{Duration, Instant};

use crate::story::{Person, Scene};

/// The setting's default.
pub const RETRY_FOR: Duration = Duration::from_secs(60);

/// What came of an exchange.
#[derive(Debug)]
pub struct Exchange {
    pub verb: &'static str,
    pub took: Duration,
    /// bg_revert is called again after a sync.
    pub calls: usize,
    pub failed: Option<String>,
}

impl Exchange {
    /// How long it may take: a last try begins before its own time is over.
    pub fn limit(&self) -> Duration {
        let time = if self.verb == "bg_revert" { REPEAT_FOR } else { RETRY_FOR };
        time + Duration::from_secs(5)
    }
}

/// `CALL bg_run('entries', 'swapped')`, once.
pub fn swap(owner: &mut Person) -> Exchange {
    run(owner, "swap", "swapped")
}

/// `CALL bg_run('entries', 'reverted')`, once.
pub fn revert(owner: &mut Person) -> Exchange {
    run(owner, "revert", "reverted")
}

fn run(owner: &mut Person, verb: &'static str, until: &str) -> Exchange {
    let began = Instant::now();
    owner.notices();
    let failed = owner.try_run(&format!("CALL bg_run('entries', '{until}')")).err();
    let failed = failed.map(|refusal| refusal.everything());
    for told in owner.notices().iter().filter(|told| told.message.contains("trying again")) {
        println!("{}", told.message);
    }
    Exchange { verb, took: began.elapsed(), calls: 1, failed }
}

/// For how long bg_revert is called again: with the writers that there are more waits after some seconds than it
/// may apply, so that it cannot wait for readers as long as bg_run does.
const REPEAT_FOR: Duration = Duration::from_secs(180);

/// Syncs and `bg_revert('entries')`, until it is done or the time is over.
pub fn revert_by_function(owner: &mut Person) -> Exchange {
    let began = Instant::now();
    let mut calls = 0;
    loop {
        calls += 1;
        let left = REPEAT_FOR.saturating_sub(began.elapsed()).min(Duration::from_secs(2));
        let revert = format!("SELECT bg_revert('entries', retry_for => '{} ms')", left.as_millis());
        let done = owner
            .try_run("CALL bg_run('entries', 'swapped')")
            .and_then(|()| owner.try_run(&revert));
        let failed = match done {
            Ok(()) => None,
            Err(refusal)
                if ["55000", "55P03"].contains(&refusal.code.as_str())
                    && began.elapsed() < REPEAT_FOR =>
            {
                continue;
            }
            Err(refusal) => Some(refusal.everything()),
        };
        return Exchange { verb: "bg_revert", took: began.elapsed(), calls, failed };
    }
}

/// The open deployment's phase.
pub fn phase(scene: &Scene) -> String {
    scene.owner().text("SELECT phase FROM bg_status('entries')")
}

/// Blue is in step; nobody writes.
pub fn sync(scene: &Scene) {
    scene.owner().run(&format!("CALL bg_run('entries', '{}')", phase(scene)));
}
