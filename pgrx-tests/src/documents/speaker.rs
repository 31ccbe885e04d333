//! Somebody who says the statements of a document to a server, and notes what psql would print.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use postgres::error::DbError;
use postgres::{Client, NoTls, SimpleQueryMessage};

use super::statements::{Outcome, Statement};

/// A session.
pub struct Speaker {
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Speaker {
    /// Opens the session.
    pub fn connect(mut config: postgres::Config) -> Result<Self> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&notices);
        config.notice_callback(move |notice| {
            if let Ok(mut kept) = kept.lock() {
                kept.extend(message(&notice));
            }
        });
        Ok(Self { client: config.connect(NoTls).context("opening a session")?, notices })
    }

    /// What comes of a statement. An error that is not the server's ends the session.
    pub fn outcome(&mut self, sql: &str) -> Result<Outcome> {
        let result = self.client.simple_query(sql);
        let mut messages = match self.notices.lock() {
            Ok(mut notices) => std::mem::take(&mut *notices),
            Err(_) => Vec::new(),
        };
        let rows = match result {
            Ok(result) => printed(sql, &result),
            Err(error) => match error.as_db_error() {
                Some(said) => {
                    messages.extend(message(said));
                    Vec::new()
                }
                None => return Err(error).with_context(|| format!("running {sql}")),
            },
        };
        Ok(Outcome { rows, messages })
    }

    /// Says statements one after the other; an error when one does not give what is shown.
    pub fn expect(&mut self, statements: &[Statement]) -> Result<()> {
        for statement in statements {
            if let Some(why) = statement.difference(&self.outcome(&statement.sql)?) {
                bail!("{}: {why}", statement.sql.trim());
            }
        }
        Ok(())
    }
}

/// A message as psql prints it; each line of a part begins with the part's label.
fn message(error: &DbError) -> Vec<String> {
    let parts = [
        Some((error.severity(), error.message())),
        error.detail().map(|detail| ("DETAIL", detail)),
        error.hint().map(|hint| ("HINT", hint)),
    ];
    let lines = parts
        .into_iter()
        .flatten()
        .flat_map(|(label, text)| text.lines().map(move |line| format!("{label}:  {line}")));
    lines.collect()
}

/// A result as psql prints it without headings: the rows, or the command tag.
fn printed(sql: &str, result: &[SimpleQueryMessage]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut has_rows = false;
    for part in result {
        match part {
            SimpleQueryMessage::RowDescription(_) => has_rows = true,
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|at| row.get(at).unwrap_or_default());
                lines.push(values.collect::<Vec<_>>().join(" | "));
            }
            SimpleQueryMessage::CommandComplete(count) if !has_rows => {
                let verb = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
                lines.push(match verb.as_str() {
                    "INSERT" => format!("INSERT 0 {count}"),
                    "UPDATE" | "DELETE" => format!("{verb} {count}"),
                    _ => verb,
                });
            }
            _ => {}
        }
    }
    lines
}
