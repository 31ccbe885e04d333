//! The steps of a deployment as `bluegreen.history` has them: where the time goes.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use postgres::Client;
use serde::Serialize;

/// One step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) name: String,
    /// Seconds since 1970.
    began: f64,
    pub(super) seconds: f64,
    /// Rows.
    pub(super) count: Option<i64>,
    detail: Option<String>,
}

impl Step {
    /// When it had ended.
    pub(super) fn ended(&self) -> Result<SystemTime> {
        let since = Duration::try_from_secs_f64(self.began + self.seconds);
        Ok(SystemTime::UNIX_EPOCH + since.context("the time of a step")?)
    }

    /// What it is counted under: all indexes under one name.
    pub(super) fn kind(&self) -> &str {
        if self.name.starts_with("index") { "indexes" } else { &self.name }
    }
}

/// All steps of one deployment, in their order.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Steps(pub(super) Vec<Step>);

impl Steps {
    /// Those of the deployment that was begun last.
    pub(super) fn of_last_deployment(admin: &mut Client) -> Result<Self> {
        let rows = admin
            .query(
                "SELECT step, extract(epoch FROM started_at)::float8,
                        extract(epoch FROM duration)::float8, count, detail
                   FROM bluegreen.history
                  WHERE deployment = (SELECT max(deployment) FROM bluegreen.history)
                    AND error IS NULL
                  ORDER BY id",
                &[],
            )
            .context("reading the history")?;
        let step = |row: &postgres::Row| Step {
            name: row.get(0),
            began: row.get(1),
            seconds: row.get(2),
            count: row.get(3),
            detail: row.get(4),
        };
        Ok(Self(rows.iter().map(step).collect()))
    }

    /// Seconds of all steps of a kind.
    pub(super) fn seconds(&self, kind: &str) -> f64 {
        let of_kind = self.0.iter().filter(|step| step.kind() == kind);
        of_kind.map(|step| step.seconds).sum()
    }

    /// The kinds in the order in which they first come, each with its seconds.
    pub(super) fn kinds(&self) -> Vec<(String, f64)> {
        let mut kinds: Vec<(String, f64)> = Vec::new();
        for step in &self.0 {
            match kinds.iter_mut().find(|(kind, _)| kind == step.kind()) {
                Some((_, seconds)) => *seconds += step.seconds,
                None => kinds.push((step.kind().to_owned(), step.seconds)),
            }
        }
        kinds
    }

    /// The copy, which every complete deployment has.
    pub(super) fn copy(&self) -> Result<&Step> {
        match self.0.iter().find(|step| step.name == "copy") {
            Some(step) => Ok(step),
            None => bail!("the history has no step named copy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, Steps};

    #[test]
    fn all_indexes_are_one_kind() {
        let step = |name: &str, seconds| Step {
            name: name.to_owned(),
            began: 0.0,
            seconds,
            count: None,
            detail: None,
        };
        let steps = Steps(vec![step("copy", 1.0), step("index a", 2.0), step("index b", 3.0)]);
        assert_eq!(steps.seconds("indexes").to_string(), "5");
        assert_eq!(steps.kinds().len(), 2);
        assert!(steps.copy().is_ok());
    }
}
