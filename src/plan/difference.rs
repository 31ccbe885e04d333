//! What changed between two fingerprints, by name.

use serde_json::Value;

/// The part that changes with every rewrite.
const FILE: &str = "file";
/// The parts that change with every change of a column's catalog row.
const REWRITTEN: &str = "rewritten column ";
/// The parts that name what uses the table's row type.
pub(crate) const ROW_TYPE: &str = "use of its row type by ";
/// What the parts are without the names of other objects, beside them in a recorded fingerprint.
pub(crate) const IDENTITIES: &str = "identities";
/// The same of parts that a swap has left as they were, until all are looked at again.
pub(crate) const KEPT_IDENTITIES: &str = "identities before the swap";
/// What a column is marked with whose values of old rows stand in the catalog.
const MISSING: &str = "missing";

/// What the names of parts begin with that are plurals.
const PLURAL: &[&str] = &["grants", "settings of ", "storage parameters"];

/// What happened to a part of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was not there before.
    Added,
    /// It is another one.
    Changed,
    /// It is gone.
    Removed,
}

/// A part that differs, as the fingerprint names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The part.
    pub part: String,
    /// What happened to it.
    pub how: How,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.how {
            How::Added => "added",
            How::Changed => "changed",
            How::Removed => "removed",
        };
        let be = if PLURAL.iter().any(|part| self.part.starts_with(part)) { "were" } else { "was" };
        write!(f, "{} {be} {how}", self.part)
    }
}

/// The parts that were added, removed or changed, in words.
pub(crate) fn differences(recorded: &Value, now: &Value) -> Vec<String> {
    match parts(recorded, now) {
        Some(found) => found.iter().map(Difference::to_string).collect(),
        None => vec!["the definition cannot be compared".to_owned()],
    }
}

/// The parts that were added, removed or changed, in the order of their words; None where one of the two is
/// no fingerprint.
pub(crate) fn parts(recorded: &Value, now: &Value) -> Option<Vec<Difference>> {
    let (recorded, now) = (recorded.as_object()?, now.as_object()?);
    // A rewrite may have put other values into a column whose definition is the same again. A new
    // file alone (VACUUM FULL) or a new catalog row alone (GRANT) changes no value.
    let rewritten = recorded.get(FILE) != now.get(FILE);
    let counts = |part: &str| {
        ![FILE, IDENTITIES, KEPT_IDENTITIES].contains(&part)
            && (rewritten || !part.starts_with(REWRITTEN))
    };
    let mut found = Vec::new();
    let mut add = |part: &str, how| found.push(Difference { part: part.to_owned(), how });
    for (part, value) in now.iter().filter(|(part, _)| counts(part)) {
        match recorded.get(part) {
            None => add(part, How::Added),
            // Any rewrite puts the values of old rows into them.
            Some(before) if before == MISSING && part.starts_with(REWRITTEN) => {}
            Some(before) if before != value => add(part, How::Changed),
            Some(_) => {}
        }
    }
    for part in recorded.keys().filter(|part| counts(part) && !now.contains_key(*part)) {
        add(part, How::Removed);
    }
    found.sort_by_key(Difference::to_string);
    Some(found)
}

/// Whether a part only prints otherwise: an object that it names has another name now. `identities` are those of
/// now, to be compared with the recorded.
pub(crate) fn prints_otherwise(
    difference: &Difference,
    recorded: &Value,
    identities: &Value,
) -> bool {
    let known = recorded.get(IDENTITIES).or_else(|| recorded.get(KEPT_IDENTITIES));
    let before = known.and_then(|all| all.get(&difference.part));
    let now = identities.get(&difference.part);
    difference.how == How::Changed && before.is_some() && before == now
}

/// Parts that a swap does not touch, though the text of their definition has the table's schema.
const WITH_ITS_SCHEMA: &[&str] = &["index ", "statistics "];

/// Takes over the recorded identities of those parts that a swap has left as they were.
pub(crate) fn keep_identities(recorded: &Value, now: &mut Value) {
    let known = recorded.get(IDENTITIES).or_else(|| recorded.get(KEPT_IDENTITIES));
    let Some(known) = known.and_then(Value::as_object) else { return };
    let is_same = |part: &str| {
        WITH_ITS_SCHEMA.iter().any(|kind| part.starts_with(kind))
            || recorded.get(part) == now.get(part)
    };
    let same = known.iter().filter(|(part, _)| is_same(part));
    let kept: serde_json::Map<_, _> = same.map(|(p, id)| (p.clone(), id.clone())).collect();
    now[KEPT_IDENTITIES] = Value::Object(kept);
}

/// Parts in which the live table may change, and bg_prepare brings the offline one up to date.
const FOLLOWED: &[&str] = &[
    "view ",
    "materialized view ",
    "function ",
    "policy ",
    "rule ",
    "trigger ",
    "publication ",
    "foreign key ",
    "row level security",
    "replica identity",
    "grants",
    "comment ",
    "index ",
    "constraint ",
];

/// Whether bg_prepare may bring the offline table up to date with these differences of the live one.
pub(crate) fn can_be_followed(differences: &[String]) -> bool {
    !capture_is_broken(differences)
        && differences.iter().all(|d| FOLLOWED.iter().any(|known| d.starts_with(known)))
}

/// What to do about differences of the live table, or of the offline one, before the swap.
pub(crate) fn way_out(differences: &[String], is_live: bool) -> &'static str {
    let is_lost = |d: &String| d.starts_with("column ") && d.ends_with(" was removed");
    if is_live && can_be_followed(differences) {
        "Call bg_prepare again with the same arguments, which brings the offline table up to date where it can; or undo that change, or run SELECT bg_abort(table) and begin again."
    } else if is_live && differences.iter().any(is_lost) {
        "Run SELECT bg_abort(table) and begin again: a dropped column cannot be made again as it was. The offline table still has its values: save them first if they are needed."
    } else {
        "Undo that change, or run SELECT bg_abort(table) and begin again: nothing but the copy is lost."
    }
}

/// Whether capture itself is among them: writes may have gone unseen.
pub(crate) fn capture_is_broken(differences: &[String]) -> bool {
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
    fn a_part_that_is_the_same_object_only_prints_otherwise() {
        let recorded = json!({"column a": "mood 'new'", "identities": {"column a": "1"}});
        let now = json!({"column a": "mood 'queued'"});
        let found = parts(&recorded, &now).unwrap_or_default();
        assert_eq!(found.len(), 1);
        assert!(prints_otherwise(&found[0], &recorded, &json!({"column a": "1"})));
        assert!(!prints_otherwise(&found[0], &recorded, &json!({"column a": "2"})));
        assert!(!prints_otherwise(&found[0], &recorded, &json!({})));
        assert!(!prints_otherwise(&found[0], &json!({"column a": ""}), &json!({"column a": "1"})));
        let mut swapped = json!({"column a": "mood 'new'", "grants": "other"});
        let before = json!({"column a": "mood 'new'", "grants": "one", "identities": {"column a": "1", "grants": "2"}});
        keep_identities(&before, &mut swapped);
        assert_eq!(swapped[KEPT_IDENTITIES], json!({"column a": "1"}));
        let found = parts(&swapped, &now).unwrap_or_default();
        assert!(prints_otherwise(&found[0], &swapped, &json!({"column a": "1"})));
        let gone = Difference { how: How::Removed, ..found[0].clone() };
        assert!(!prints_otherwise(&gone, &recorded, &json!({"column a": "1"})));
    }

    #[test]
    fn the_way_out_is_one_that_works() {
        let way = |difference: &str, is_live| way_out(&[difference.to_owned()], is_live);
        assert!(way("index i was added", true).starts_with("Call bg_prepare again"));
        for (difference, is_live) in [
            ("index i was added", false),
            ("column a was changed", true),
            ("capture trigger bluegreen_capture was removed", true),
        ] {
            assert!(way(difference, is_live).starts_with("Undo"), "{difference}");
        }
        assert!(way("column a was removed", true).contains("save them first"));
    }

    #[test]
    fn what_was_added_removed_and_changed_is_named() {
        let before = json!({"column a": "int", "grants": "", "index i": "x", "owner": "app"});
        let after = json!({"column a": "bigint", "grants": "x", "owner": "app", "trigger t": "1"});
        assert_eq!(
            differences(&before, &after),
            vec![
                "column a was changed",
                "grants were changed",
                "index i was removed",
                "trigger t was added"
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
