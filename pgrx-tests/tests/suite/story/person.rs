//! Somebody with a session, who says SQL and is told what came of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;
use postgres::error::DbError;
use postgres::{Client, NoTls, SimpleQueryMessage};

/// An error, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Refusal {
    pub fn from_error(error: &postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self::from_server(error),
            None => Self {
                code: String::new(),
                message: error.to_string(),
                detail: String::new(),
                hint: String::new(),
            },
        }
    }

    fn from_server(error: &DbError) -> Self {
        Self {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().unwrap_or_default().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }

    /// Asserts that this is the refusal of ours that it should be: its SQLSTATE, a message that
    /// names what it is about and is enough by itself, and a hint.
    #[track_caller]
    pub fn assert_is(&self, code: &str, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        self.assert_names(words);
        self.assert_helps();
    }

    /// Asserts that the message has these words in it.
    #[track_caller]
    pub fn assert_names(&self, words: &[&str]) {
        for word in words {
            let message = self.message.to_lowercase();
            assert!(message.contains(&word.to_lowercase()), "no \"{word}\" in {self:?}");
        }
    }

    /// Asserts that it says what to do, and that the message is a fact in one line.
    #[track_caller]
    pub fn assert_helps(&self) {
        assert!(!self.hint.trim().is_empty(), "no hint: {self:?}");
        assert!(self.message.len() > 15, "a message that says nothing: {self:?}");
        assert!(!self.message.contains('\n'), "more than one line: {self:?}");
        assert!(!self.message.contains("XX000") && self.code != "XX000", "internal: {self:?}");
    }

    /// Message, detail and hint together.
    pub fn everything(&self) -> String {
        format!("{} {} {}", self.message, self.detail, self.hint)
    }
}

/// Somebody with a session.
pub struct Person {
    pub client: Client,
    pub role: String,
    notices: Arc<Mutex<Vec<Refusal>>>,
}

impl Person {
    pub fn connect(cluster: &Cluster, role: &str, database: &str) -> Self {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        let mut config = cluster.config(role, database);
        config.notice_callback(move |notice| {
            heard.lock().unwrap().push(Refusal::from_server(&notice));
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let client = loop {
            match config.connect(NoTls) {
                Ok(client) => break client,
                // The server is starting or recovering.
                Err(error)
                    if error.code().is_none_or(|code| code.code() == "57P03")
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{role} cannot connect: {error:?}"),
            }
        };
        Self { client, role: role.to_owned(), notices }
    }

    /// Says something and expects no error.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        if let Err(refusal) = self.try_run(sql) {
            panic!("{} was refused {sql}: {refusal:#?}", self.role);
        }
    }

    /// Says something.
    pub fn try_run(&mut self, sql: &str) -> Result<(), Refusal> {
        self.client.batch_execute(sql).map_err(|error| Refusal::from_error(&error))
    }

    /// Says something that must be refused.
    #[track_caller]
    pub fn refused(&mut self, sql: &str) -> Refusal {
        match self.try_run(sql) {
            Ok(()) => panic!("{} was not refused: {sql}", self.role),
            Err(refusal) => refusal,
        }
    }

    /// The rows of the last query in `sql`, as text.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self.try_rows(sql) {
            Ok(rows) => rows,
            Err(refusal) => panic!("{} was refused {sql}: {refusal:#?}", self.role),
        }
    }

    /// The same, or the error.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Refusal> {
        let messages =
            self.client.simple_query(sql).map_err(|error| Refusal::from_error(&error))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first value, as text; empty when it is NULL.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        let first = rows.first().unwrap_or_else(|| panic!("no row: {sql}"));
        first.first().cloned().flatten().unwrap_or_default()
    }

    /// The first value, as a number.
    #[track_caller]
    pub fn int(&mut self, sql: &str) -> i64 {
        let text = self.text(sql);
        text.parse().unwrap_or_else(|_| panic!("{text:?} is no number: {sql}"))
    }

    /// All first columns, one per line.
    #[track_caller]
    pub fn list(&mut self, sql: &str) -> Vec<String> {
        self.rows(sql).into_iter().map(|mut row| row.remove(0).unwrap_or_default()).collect()
    }

    pub fn pid(&mut self) -> i32 {
        self.text("SELECT pg_backend_pid()").parse().expect("a pid")
    }

    /// What the server has said besides since the last time.
    pub fn notices(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    /// Prepares a deployment and brings it to `ready`.
    #[track_caller]
    pub fn make_ready(&mut self, changes: &str) {
        self.run(&format!("SELECT bg_prepare('users', $changes${changes}$changes$)"));
        self.sync();
    }

    /// `CALL bg_run('users')`: to `ready`, and from there one sync.
    #[track_caller]
    pub fn sync(&mut self) {
        self.run("CALL bg_run('users')");
    }

    /// A sync that keeps no earlier versions: a swap has to wait for those who have an older snapshot.
    #[track_caller]
    pub fn sync_without_history(&mut self, table: &str) {
        self.run("SET bluegreen.wait_for_snapshots = off");
        self.run(&format!("CALL bg_run('{table}')"));
        self.run("RESET bluegreen.wait_for_snapshots");
    }

    /// `SELECT bg_swap('users')` right after a sync.
    #[track_caller]
    pub fn swap(&mut self) {
        self.sync();
        assert_eq!(self.text("SELECT bg_swap('users')"), "swapped");
    }

    /// `SELECT bg_revert('users')` right after a sync.
    #[track_caller]
    pub fn revert(&mut self) {
        self.run("CALL bg_run('users', 'swapped')");
        assert_eq!(self.text("SELECT bg_revert('users')"), "ready");
    }
}
