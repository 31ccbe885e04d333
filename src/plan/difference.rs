//! What changed between two fingerprints, by name.

use serde_json::Value;

/// The part that changes with every rewrite.
const FILE: &str = "file";
/// The parts that change with every change of a column's catalog row.
const REWRITTEN: &str = "rewritten column ";
/// The parts that name what uses the table's row type.
pub const ROW_TYPE: &str = "use of its row type by ";
/// What a column is marked with whose values of old rows stand in the catalog.
const MISSING: &str = "missing";

/// The parts that were added, removed or changed, in words.
pub fn differences(recorded: &Value, now: &Value) -> Vec<String> {
    let (Some(recorded), Some(now)) = (recorded.as_object(), now.as_object()) else {
        return vec!["the definition cannot be compared".to_owned()];
    };
    // A rewrite may have put other values into a column whose definition is the same again. A new
    // file alone (VACUUM FULL) or a new catalog row alone (GRANT) changes no value.
    let rewritten = recorded.get(FILE) != now.get(FILE);
    let counts = |part: &str| part != FILE && (rewritten || !part.starts_with(REWRITTEN));
    let mut found = Vec::new();
    for (part, value) in now.iter().filter(|(part, _)| counts(part)) {
        match recorded.get(part) {
            None => found.push(format!("{part} was added")),
            // Any rewrite puts the values of old rows into them.
            Some(before) if before == MISSING && part.starts_with(REWRITTEN) => {}
            Some(before) if before != value => found.push(format!("{part} was changed")),
            Some(_) => {}
        }
    }
    for part in recorded.keys().filter(|part| counts(part) && !now.contains_key(*part)) {
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
    fn a_rewrite_counts_only_together_with_a_changed_column() {
        let before = json!({"file": "1", "rewritten column a": "10"});
        let vacuumed = json!({"file": "2", "rewritten column a": "10"});
        let granted = json!({"file": "1", "rewritten column a": "11"});
        let retyped = json!({"file": "2", "rewritten column a": "11"});
        assert!(differences(&before, &vacuumed).is_empty());
        assert!(differences(&before, &granted).is_empty());
        assert_eq!(differences(&before, &retyped), vec!["rewritten column a was changed"]);
        let added = json!({"file": "1", "rewritten column a": "missing"});
        assert!(differences(&added, &vacuumed).is_empty());
    }

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
