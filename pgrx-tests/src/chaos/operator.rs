//! An operator's call, in a session and a thread of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postgres::SimpleQueryMessage;

use super::plan::Act;
use super::table::Table;
use crate::cluster::Cluster;

/// How a call ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With this result.
    Done(String),
    /// With an error.
    Failed(Refusal),
}

/// An error of the server; without a code when the connection broke.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: Option<String>,
    /// The message.
    pub message: String,
    /// DETAIL, HINT and CONTEXT.
    pub rest: String,
    /// Whether there was a hint.
    pub hint: bool,
}

impl Refusal {
    /// What a database error says.
    pub fn of(error: &postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => {
                // A CONTEXT may be a query of a hundred lines.
                let part = |name: &str, text: Option<&str>| {
                    let short: String = text.unwrap_or_default().chars().take(300).collect();
                    if short.is_empty() {
                        short
                    } else {
                        format!(" {name}: {}", short.replace('\n', " "))
                    }
                };
                Self {
                    code: Some(error.code().code().to_owned()),
                    message: error.message().to_owned(),
                    rest: part("DETAIL", error.detail())
                        + &part("HINT", error.hint())
                        + &part("CONTEXT", error.where_()),
                    hint: error.hint().is_some(),
                }
            }
            None => Self {
                code: error.code().map(|code| code.code().to_owned()),
                message: error.to_string(),
                rest: String::new(),
                hint: false,
            },
        }
    }

    /// All of it in one line.
    pub fn text(&self) -> String {
        let code = self.code.as_deref().unwrap_or("connection");
        format!("{code} {}{}", self.message, self.rest)
    }
}

/// A call under way.
pub struct Operator {
    /// Its statement's name.
    pub verb: String,
    /// Its session.
    pub pid: i32,
    outcome: Receiver<(Outcome, Duration)>,
    begun: Instant,
}

impl Operator {
    /// Opens a session and lets it call.
    pub fn call(cluster: &Cluster, database: &str, table: &Table, act: &Act) -> Result<Self> {
        let mut client = cluster.connect("owner", database)?;
        let pid: i32 = client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .context("asking for the session's number")?
            .get(0);
        let mut settings =
            "SET application_name = 'operator'; SET search_path = public, ci".to_owned();
        for (name, value) in &act.settings {
            settings.push_str(&format!("; SET {name} = '{value}'"));
        }
        client.batch_execute(&settings).context("setting the session's parameters")?;
        let sql = act.verb.sql(table);
        let (send, outcome) = channel();
        let begun = Instant::now();
        thread::Builder::new()
            .name(act.verb.to_string())
            .spawn(move || {
                let outcome = match client.simple_query(&sql) {
                    Ok(messages) => Outcome::Done(first(&messages)),
                    Err(error) => Outcome::Failed(Refusal::of(&error)),
                };
                // Nobody waits for it any more where something else went wrong.
                let _ = send.send((outcome, begun.elapsed()));
            })
            .context("starting a thread")?;
        Ok(Self { verb: act.verb.to_string(), pid, outcome, begun })
    }

    /// Waits for its end, for so long at most. How it ended, and after what time.
    pub fn outcome(&self, limit: Duration) -> Option<(Outcome, Duration)> {
        match self.outcome.recv_timeout(limit) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                let refusal = Refusal {
                    code: None,
                    message: "the caller's thread has panicked".to_owned(),
                    rest: String::new(),
                    hint: false,
                };
                Some((Outcome::Failed(refusal), self.elapsed()))
            }
        }
    }

    /// Since when.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// The first value of a result.
fn first(messages: &[SimpleQueryMessage]) -> String {
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .unwrap_or_default()
}
