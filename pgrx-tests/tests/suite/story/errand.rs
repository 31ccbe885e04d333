//! Something that somebody does while the test goes on.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Scene;
use super::person::{Person, Refusal};

/// The rows that came back, or the error.
pub type Said = Result<Vec<Vec<Option<String>>>, Refusal>;

/// The owner's `CALL bg_run('users')` with settings, in a session of its own.
pub fn run_with(scene: &Scene, settings: &str) -> Errand {
    let mut owner = scene.owner();
    owner.run(settings);
    Errand::start(owner, "CALL bg_run('users')")
}

/// Something that somebody does while the test goes on.
pub struct Errand {
    pub pid: i32,
    sql: String,
    thread: JoinHandle<(Person, Said)>,
}

impl Errand {
    /// Sends `person` to say `sql`.
    pub fn start(mut person: Person, sql: &str) -> Self {
        let pid = person.pid();
        let said = sql.to_owned();
        let thread = std::thread::spawn(move || {
            let result = person.try_rows(&said);
            (person, result)
        });
        Self { pid, sql: sql.to_owned(), thread }
    }

    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// What came of it, once it has ended, within a minute and a half.
    #[track_caller]
    pub fn result(self) -> (Person, Said) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "does not end: {}", self.sql);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().expect("the errand's thread panicked")
    }

    /// It must have gone well.
    #[track_caller]
    pub fn done(self) -> Person {
        let sql = self.sql.clone();
        let (person, result) = self.result();
        if let Err(refusal) = result {
            panic!("{} was refused {sql}: {refusal:#?}", person.role);
        }
        person
    }

    /// It must have been refused.
    #[track_caller]
    pub fn refused(self) -> Refusal {
        let sql = self.sql.clone();
        match self.result() {
            (_, Err(refusal)) => refusal,
            (person, Ok(_)) => panic!("{} was not refused: {sql}", person.role),
        }
    }
}
