//! What changed between two fingerprints, by name.

use serde_json::Value;

/// The parts that were added, removed or changed, in words.
pub fn differences(recorded: &Value, now: &Value) -> Vec<String> {
    let (Some(recorded), Some(now)) = (recorded.as_object(), now.as_object()) else {
        return vec!["the definition cannot be compared".to_owned()];
    };
    let mut found = Vec::new();
    for (part, value) in now {
        match recorded.get(part) {
            None => found.push(format!("{part} was added")),
            Some(before) if before != value => found.push(format!("{part} was changed")),
            Some(_) => {}
        }
    }
    for part in recorded.keys().filter(|part| !now.contains_key(*part)) {
        found.push(format!("{part} was removed"));
    }
    found.sort();
    found
}

/// Whether capture itself is among them: writes may have gone unseen.
pub fn capture_is_broken(differences: &[String]) -> bool {
    differences.iter().any(|d| d.starts_with("capture trigger"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_added_removed_and_changed_is_named() {
        let before = json!({"column a": "int", "index i": "x", "owner": "app"});
        let after = json!({"column a": "bigint", "owner": "app", "trigger t": "1"});
        assert_eq!(
            differences(&before, &after),
            vec!["column a was changed", "index i was removed", "trigger t was added"]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
