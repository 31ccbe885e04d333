//! Sessions whose work is measured, and what they are set to.

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::{Context, Result};
use postgres::error::SqlState;
use postgres::{Client, NoTls};

use super::OWNER;
use crate::cluster::Cluster;
use crate::setup::command::say;

/// By this application_name the sessions under test are known.
pub(super) const SUBJECT: &str = "subject";

/// A setting of the extension and its value.
pub(super) type Setting = (&'static str, &'static str);

/// A session of the table's owner that is known as the one under test. It has called the extension
/// once, so that its settings are defined there.
pub(super) fn subject(cluster: &Cluster, settings: &[Setting]) -> Result<Client> {
    let mut client = subject_as(cluster, OWNER)?;
    execute(&mut client, "SELECT count(*) FROM bg_status()")?;
    for setting in settings {
        set(&mut client, *setting)?;
    }
    Ok(client)
}

/// A session under test of another role.
pub(super) fn subject_as(cluster: &Cluster, role: &str) -> Result<Client> {
    let mut config = cluster.config(role, "postgres");
    config.application_name(SUBJECT).connect(NoTls).with_context(|| format!("connecting as {role}"))
}

/// Makes a setting. One that this version of the extension does not know is left out, and said.
pub(super) fn set(client: &mut Client, (name, value): Setting) -> Result<()> {
    let sql = format!("SET {name} = '{value}'");
    match client.batch_execute(&sql) {
        Err(error) if is_unknown(&error) => {
            say_once(format!("{name} is not known to this version: measured without it"));
            Ok(())
        }
        other => other.context(sql),
    }
}

/// The prefix is reserved, so that a name which is not defined is an error.
fn is_unknown(error: &postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::INVALID_NAME) || code == Some(&SqlState::UNDEFINED_OBJECT)
}

fn say_once(what: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().is_ok_and(|mut said| said.insert(what.clone())) {
        say(&what);
    }
}

/// Runs one statement; an error names it.
pub(super) fn execute(client: &mut Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).with_context(|| sql.to_owned())
}

/// Whether an extension could be created.
pub(super) fn has_extension(client: &mut Client, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)";
    Ok(client.query_one(sql, &[&name]).context("looking for an extension")?.get(0))
}
