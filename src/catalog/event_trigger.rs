//! Event triggers: code of others that runs in the commands of a deployment.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::{Ident, plain};
use crate::pg::spi;

/// An event trigger that is enabled.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EventTrigger {
    /// Its name.
    pub name: Ident,
    /// `ddl_command_start`, `ddl_command_end`, `table_rewrite` or `sql_drop`.
    pub event: String,
    /// The commands that it is for; none: all.
    pub tags: Option<Vec<String>>,
    /// The bare name of its function.
    pub function_name: Ident,
}

/// Those that fire on what a deployment does.
pub(crate) fn event_triggers() -> Result<Vec<EventTrigger>> {
    spi::rows(include_str!("queries/event_triggers.sql"), &[])
}

/// The event triggers that may have done something, in words; those of a command alone, where there are any.
pub(crate) fn suspects(tag: Option<&str>) -> Result<Option<String>> {
    let known = event_triggers()?;
    let of_tag = |trigger: &&EventTrigger| match (&trigger.tags, tag) {
        (Some(tags), Some(tag)) => tags.iter().any(|t| t == tag),
        _ => true,
    };
    let mut likely: Vec<_> = known.iter().filter(of_tag).map(EventTrigger::title).collect();
    if likely.is_empty() {
        likely = known.iter().map(EventTrigger::title).collect();
    }
    Ok(match likely.len() {
        0 => None,
        1 => Some(format!("event trigger {}", likely.join(""))),
        _ => Some(format!("one of the event triggers {}", likely.join(", "))),
    })
}

/// The error where something is not what a command of ours has just made, or not where; `fact` says it.
pub(crate) fn changed(fact: impl std::fmt::Display, tag: &str) -> Error {
    let who = suspects(Some(tag)).ok().flatten();
    let by = who.map_or(String::new(), |who| format!(" ({who} runs in the command)"));
    Error::state(format!("{fact}{by}"))
        .hint("Let event triggers pass over the schemas bluegreen, bluegreen_* and *_blue, or ALTER EVENT TRIGGER … DISABLE for the deployment, then call again.")
}

impl EventTrigger {
    /// What it is and when it fires: `stamp (ddl_command_end of CREATE TABLE)`.
    pub(crate) fn title(&self) -> String {
        let name = plain(self.name.as_str());
        match &self.tags {
            Some(tags) => format!("{name} ({} of {})", self.event, tags.join(", ")),
            None => format!("{name} ({})", self.event),
        }
    }

    /// Whether its function is in an error's context: the server writes it with its arguments, of which
    /// it has none, behind its schema where that is not in the search_path.
    pub(crate) fn is_in(&self, context: &str) -> bool {
        let name = self.function_name.as_str();
        let called = |quoted: &str| {
            context.match_indices(quoted).any(|(at, _)| {
                let before = context[..at].chars().next_back();
                let after = context[at + quoted.len()..].chars().next();
                before.is_none_or(|c| c == '.' || c == ' ' || c == '"')
                    && after.is_none_or(|c| c == '(' || c == '"' || c == ' ')
            })
        };
        called(name) || called(&self.function_name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(function: &str) -> EventTrigger {
        EventTrigger {
            name: Ident::new("t"),
            event: "ddl_command_end".to_owned(),
            tags: None,
            function_name: Ident::new(function),
        }
    }

    #[test]
    fn a_function_is_found_in_the_context_by_its_whole_name() {
        let context = "PL/pgSQL function public.veto() line 1 at RAISE\nSQL statement \"x\"";
        assert!(of("veto").is_in(context));
        assert!(!of("vet").is_in(context));
        assert!(!of("eto").is_in(context));
        assert!(of("Ve\"to").is_in("PL/pgSQL function s.\"Ve\"\"to\"() line 2 at RAISE"));
    }
}
