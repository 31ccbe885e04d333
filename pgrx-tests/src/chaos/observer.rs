//! A client that does nothing but add up the table and the ledger under one snapshot, again and
//! again: whatever statement it is that meets a swap, it must never see one half of it.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::watcher::Watcher;
use crate::journal::{self, Schema};

/// Between two looks.
const REST: Duration = Duration::from_millis(30);

/// The client at work. It ends with the value.
pub struct Observer(Watcher);

impl Observer {
    /// Lets it begin.
    pub fn start(config: &postgres::Config, schema: &Schema) -> Result<Self> {
        let schema = schema.clone();
        let watcher = Watcher::start(config, "observer", move |client| {
            thread::sleep(REST);
            // An error is a lost connection, or a column that a swap has renamed meanwhile: the one
            // who looks at everything after the step would meet it again.
            let Ok(balance) = journal::balance(client, &schema) else {
                return client.batch_execute("").map(|()| None);
            };
            Ok(balance.check().err().map(|error| format!("one statement sees: {error}")))
        })?;
        Ok(Self(watcher))
    }

    /// How often it has looked.
    pub fn looks(&self) -> u64 {
        self.0.count()
    }

    /// What it saw that must not be.
    pub fn problem(&self) -> Option<String> {
        self.0.problem()
    }
}
