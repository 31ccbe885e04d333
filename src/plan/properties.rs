//! Properties that a copy ought to have and has not.

use std::fmt;

use serde_json::{Map, Value};

use crate::error::Error;

/// What a column's type decides, of the column and of indexes on it.
const OF_TYPES: &[&str] = &["indclass", "indcollation", "indoption"];
/// What makes a column's type.
const TYPE: &[&str] = &["atttypid", "atttypmod", "attcollation"];
/// The part that is the relation itself.
const ITSELF: &str = "itself";
/// Settings of a table that we change ourselves until the swap.
const OURS: &str = "autovacuum_enabled=";

/// A property that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// `itself`, `column c`, `index i` and so on.
    pub part: String,
    /// The name of the catalog's column; empty where the whole part is missing or was not meant.
    pub property: String,
    /// What was meant.
    pub meant: Value,
    /// What was found.
    pub found: Value,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { part, property, meant, found } = self;
        match (property.as_str(), meant, found) {
            ("", _, Value::Null) => write!(f, "{part} is missing"),
            ("", ..) => write!(f, "{part} was not meant"),
            _ => write!(f, "{property} of {part} is {found} instead of {meant}"),
        }
    }
}

/// What `found` has otherwise than `meant`, both as the query of properties gives them. Columns whose type
/// is another one are left out, and what hangs on their types.
pub(crate) fn lost(meant: &Value, found: &Value) -> Vec<Lost> {
    let none = Map::new();
    let parts = |side: &'_ Value| side.as_object().cloned().unwrap_or_default();
    let (meant, found) = (parts(meant), parts(found));
    let retyped = |part: &str| {
        let of = |side: &Map<String, Value>| {
            TYPE.iter().map(|p| side.get(part).and_then(|v| v.get(*p)).cloned()).collect::<Vec<_>>()
        };
        part.starts_with("column ") && found.contains_key(part) && of(&meant) != of(&found)
    };
    let any_retyped = meant.keys().any(|part| retyped(part));
    let mut lost = Vec::new();
    for part in meant.keys().chain(found.keys().filter(|part| !meant.contains_key(*part))) {
        let (own, others) = (meant.get(part), found.get(part));
        // A table without long values has no TOAST table that could have settings.
        if retyped(part) || (part == "TOAST table" && others.is_none() && any_retyped) {
            continue;
        }
        let (Some(own), Some(others)) = (own, others) else {
            let of = |side: Option<&Value>| side.cloned().unwrap_or_default();
            let (meant, found) = (of(own), of(others));
            lost.push(Lost { part: part.clone(), property: String::new(), meant, found });
            continue;
        };
        let (own, others) = (own.as_object().unwrap_or(&none), others.as_object().unwrap_or(&none));
        let added = others.keys().filter(|property| !own.contains_key(*property));
        for property in own.keys().chain(added) {
            let of = |side: &Map<String, Value>| side.get(property).cloned().unwrap_or_default();
            let (meant, found) = (of(own), of(others));
            let of_types = any_retyped && OF_TYPES.contains(&property.as_str());
            if meant != found && !of_types {
                lost.push(Lost { part: part.clone(), property: property.clone(), meant, found });
            }
        }
    }
    lost
}

/// The refusal of an object that would not be carried over as it is.
pub(crate) fn refusal(title: &str, lost: &[Lost]) -> Option<Error> {
    let (first, others) = lost.split_first()?;
    let error = Error::unsupported(format!("{title} cannot be carried over as it is: {first}"))
        .hint("Give it what its copy has for the deployment, and its own again after bg_finish. An event trigger may have changed the copy: disable it for the deployment.");
    Some(match others {
        [] => error,
        _ => {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            error.detail(others.join("\n"))
        }
    })
}

/// The properties of a table without what is ours while it is offline.
pub(crate) fn without_ours(mut properties: Value) -> Value {
    if let Some(options) = properties.get_mut(ITSELF).and_then(|p| p.get_mut("reloptions")) {
        if let Some(all) = options.as_array_mut() {
            all.retain(|option| !option.as_str().is_some_and(|text| text.starts_with(OURS)));
        }
        if options.as_array().is_some_and(Vec::is_empty) {
            *options = Value::Null;
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(storage: &str, oid: u32) -> Value {
        json!({"atttypid": oid, "atttypmod": -1, "attcollation": 100, "attstorage": storage})
    }

    #[test]
    fn a_property_that_differs_is_named_with_its_part() {
        let meant = json!({"itself": {"relreplident": "f"}, "column x": column("e", 25)});
        let found = json!({"itself": {"relreplident": "f"}, "column x": column("x", 25)});

        let lost = lost(&meant, &found);

        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].to_string(), "attstorage of column x is \"x\" instead of \"e\"");
    }

    #[test]
    fn what_a_type_decides_may_differ_with_it() {
        let meant =
            json!({"column x": column("e", 25), "index i": {"indclass": "1", "comment": "c"}});
        let found =
            json!({"column x": column("p", 23), "index i": {"indclass": "2", "comment": null}});

        let lost = lost(&meant, &found);

        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].property, "comment");
    }

    #[test]
    fn a_part_too_many_and_one_too_few_are_named() {
        let lost = lost(&json!({"index a": {}}), &json!({"index b": {}}));

        let said: Vec<_> = lost.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["index a is missing", "index b was not meant"]);
    }

    #[test]
    fn autovacuum_that_we_switched_off_is_no_property() {
        let off = json!({"itself": {"reloptions": ["autovacuum_enabled=false"]}});
        let none = json!({"itself": {"reloptions": null}});

        assert!(lost(&none, &without_ours(off)).is_empty());
    }
}
