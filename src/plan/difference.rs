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
const PLURAL: &[&str] = &["grants", "labels ", "settings of ", "storage parameters"];

/// What the names of parts end with that a row type has, and not its table.
const OF_ROW_TYPE: &str = " of its row type";

/// What happened to a part of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was not there before.
    Added,
    /// It is another one.
    Changed,
    /// It is gone.
    Removed,
    /// What was recorded of it is in no form that is known.
    Unreadable,
}

/// A part that differs, as the fingerprint names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The part.
    pub part: String,
    /// What happened to it.
    pub how: How,
    /// What it was.
    before: Option<String>,
    /// What it is.
    now: Option<String>,
}

/// Characters of a part's definition that a message shows.
const SHOWN: usize = 200;
/// Parts whose values say nothing to a reader: numbers of ours and of the server.
const NUMBERS: &[&str] = &[REWRITTEN, "capture trigger ", ROW_TYPE, "subscription"];

impl Difference {
    /// Whether it is of a kind of parts, whose names begin like this.
    pub(crate) fn is_of(&self, kind: &str) -> bool {
        self.part.starts_with(kind)
    }

    /// Whether it is something that the table's row type has.
    pub(crate) fn is_of_row_type(&self) -> bool {
        self.part.ends_with(OF_ROW_TYPE)
    }

    /// Whether it is the constraint of a constraint trigger, which comes and goes with that.
    pub(crate) fn is_of_constraint_trigger(&self) -> bool {
        let mut definitions = [&self.before, &self.now].into_iter().flatten();
        self.is_of("constraint ") && definitions.all(|said| said.starts_with("TRIGGER"))
    }

    /// What the part was and what it is, in the server's words; None where they say nothing.
    fn values(&self) -> Option<String> {
        if NUMBERS.iter().any(|part| self.part.starts_with(part)) {
            return None;
        }
        let (before, now) = (self.before.as_deref()?, self.now.as_deref());
        let values = [Some(before), now];
        let mut shown = values.map(|value| value.map(|v| readable(&self.part, v)));
        if shown[0] == shown[1] {
            shown = values.map(|value| value.map(ToOwned::to_owned));
        }
        let [before, now] = shown.map(|value| cut(value.as_deref().unwrap_or_default()));
        Some(match self.how {
            How::Removed => format!("{}: {before} before", self.part),
            How::Added | How::Changed | How::Unreadable => {
                format!("{}: {before} before, {now} now", self.part)
            }
        })
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None if value.is_empty() => "empty".to_owned(),
        None => value.to_owned(),
    }
}

/// A fingerprint's part as a definition is written, without the numbers and flags beside it.
fn readable(part: &str, value: &str) -> String {
    match part.split(' ').next() {
        Some("column") => column(value).unwrap_or_else(|| value.to_owned()),
        Some("constraint") => before_flags(value, 1),
        Some("index") => before_flags(value, 3),
        _ => value.to_owned(),
    }
}

fn is_flag(word: &str) -> bool {
    matches!(word, "t" | "f" | "true" | "false")
}

/// What stands before the last so many flags in a row.
fn before_flags(value: &str, flags: usize) -> String {
    let words: Vec<&str> = value.split(' ').collect();
    let at = words.windows(flags).rposition(|some| some.iter().all(|word| is_flag(word)));
    words[..at.unwrap_or(words.len())].join(" ")
}

/// A column: its number, type, collation, NOT NULL, identity, generated, and its default.
fn column(value: &str) -> Option<String> {
    let words: Vec<&str> = value.split(' ').collect();
    let at = words.windows(2).position(|w| w[0].parse::<u64>().is_ok() && is_flag(w[1]))?;
    let at = if at == 0 { return None } else { at };
    let (of_type, rest) = (words.get(1..at)?.join(" "), words.get(at + 1..)?);
    let (identity, generated) = (rest.get(1).copied(), rest.get(2).copied());
    let expression = rest.get(3..).map(|words| words.join(" ")).filter(|text| !text.is_empty());
    let mut said = of_type;
    if rest.first() == Some(&"t") {
        said += " NOT NULL";
    }
    match (identity, generated, expression) {
        (Some("a"), ..) => said += " GENERATED ALWAYS AS IDENTITY",
        (Some("d"), ..) => said += " GENERATED BY DEFAULT AS IDENTITY",
        (_, Some("s"), Some(of)) => said += &format!(" GENERATED ALWAYS AS ({of}) STORED"),
        (_, _, Some(default)) => said += &format!(" DEFAULT {default}"),
        (_, _, None) => {}
    }
    Some(said)
}

/// What the changed and removed parts were and are, for the detail of an error.
pub(crate) fn values(found: &[Difference]) -> Option<String> {
    let values: Vec<_> = found.iter().filter_map(Difference::values).take(3).collect();
    (!values.is_empty()).then(|| values.join(". ") + ".")
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.how {
            How::Added => "added",
            How::Changed => "changed",
            How::Removed => "removed",
            How::Unreadable => return write!(f, "{} cannot be compared", self.part),
        };
        let be = if PLURAL.iter().any(|part| self.part.starts_with(part)) { "were" } else { "was" };
        write!(f, "{} {be} {how}", self.part)
    }
}

/// The parts that were added, removed or changed.
pub(crate) fn differences(recorded: &Value, now: &Value) -> Vec<Difference> {
    parts(recorded, now).unwrap_or_else(|| {
        let part = "the definition".to_owned();
        vec![Difference { part, how: How::Unreadable, before: None, now: None }]
    })
}

/// The same as a message has them.
pub(crate) fn in_words(found: &[Difference]) -> String {
    found.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
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
    let text = |of: &serde_json::Map<String, Value>, part: &str| {
        of.get(part).and_then(Value::as_str).map(ToOwned::to_owned)
    };
    let mut add = |part: &str, how| {
        let (before, now) = (text(recorded, part), text(now, part));
        found.push(Difference { part: part.to_owned(), how, before, now });
    };
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
    // A column that comes or goes says it all.
    let columns: Vec<_> = (found.iter())
        .filter(|d| d.is_of("column ") && d.how != How::Changed)
        .map(|d| format!(" {}", d.part))
        .collect();
    found.retain(|d| !columns.iter().any(|column| d.part.ends_with(column)));
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
    "labels ",
    "index ",
    "constraint ",
];

/// Whether bg_prepare may bring the offline table up to date with these differences of the live one.
pub(crate) fn can_be_followed(differences: &[Difference]) -> bool {
    differences.iter().all(is_followed)
}

fn is_followed(difference: &Difference) -> bool {
    // The rows that are copied already may break it.
    let is_check = [&difference.before, &difference.now]
        .into_iter()
        .flatten()
        .any(|definition| difference.is_of("constraint ") && definition.starts_with("CHECK"));
    !is_check && FOLLOWED.iter().any(|known| difference.is_of(known))
}

/// What leads on, before the swap, where a table is not as the deployment left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// bg_prepare again, which follows.
    Prepare,
    /// The end: writes may have gone unseen.
    End,
    /// bg_abort: it cannot be undone, and what is lost is in the offline table.
    SaveAndAbort,
    /// Somebody has to undo it, or to abort.
    Undo,
}

/// The way out of differences of the live table, or of the offline one.
pub(crate) fn way(differences: &[Difference], is_live: bool) -> Way {
    let is_lost = |d: &Difference| d.is_of("column ") && d.how == How::Removed;
    if capture_is_broken(differences) {
        Way::End
    } else if is_live && can_be_followed(differences) {
        Way::Prepare
    } else if is_live && differences.iter().any(is_lost) {
        Way::SaveAndAbort
    } else {
        Way::Undo
    }
}

/// The same as a hint.
pub(crate) fn way_out(differences: &[Difference], is_live: bool) -> &'static str {
    match way(differences, is_live) {
        Way::Prepare => {
            "Call bg_prepare again with the same arguments, which brings the offline table up to date where it can; or undo that change, or run SELECT bg_abort(table) and begin again."
        }
        Way::SaveAndAbort => {
            "Run SELECT bg_abort(table) and begin again: a dropped column cannot be made again as it was. The offline table still has its values: save them first if they are needed."
        }
        Way::Undo | Way::End => {
            "Undo that change, or run SELECT bg_abort(table) and begin again: nothing but the copy is lost."
        }
    }
}

/// Whether capture itself is among them: writes may have gone unseen.
pub(crate) fn capture_is_broken(differences: &[Difference]) -> bool {
    differences.iter().any(|d| d.is_of("capture trigger"))
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
        assert_eq!(in_words(&differences(&before, &retyped)), "rewritten column a was changed");
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
    fn what_a_row_type_has_and_the_constraint_of_a_trigger_are_told_from_the_tables_own() {
        let now = json!({
            "grants": "{a=r/b}", "grants of its row type": "{a=U/b}",
            "constraint t": "TRIGGER DEFERRABLE true", "constraint c": "CHECK ((a > 0)) true"
        });
        let found = differences(&json!({}), &now);
        let named = |is: fn(&Difference) -> bool| -> Vec<&str> {
            found.iter().filter(|d| is(d)).map(|d| d.part.as_str()).collect()
        };
        assert_eq!(named(Difference::is_of_row_type), ["grants of its row type"]);
        assert_eq!(named(Difference::is_of_constraint_trigger), ["constraint t"]);
        assert!(in_words(&found).contains("grants of its row type were added"));
        let taken_off = json!({"grants": "{a=r/b}"});
        assert!(way_out(&differences(&now, &taken_off), true).starts_with("Undo"));
        let labels = differences(&json!({}), &json!({"labels of its row type": "p l"}));
        assert!(way_out(&labels, true).starts_with("Call bg_prepare again"));
    }

    #[test]
    fn the_way_out_is_one_that_works() {
        let way =
            |recorded: Value, now: Value, is_live| way_out(&differences(&recorded, &now), is_live);
        let key = json!({"index i": "x", "constraint i": "UNIQUE (a) t"});
        assert!(way(json!({}), key, true).starts_with("Call bg_prepare again"));
        for (recorded, now, is_live) in [
            (json!({}), json!({"index i": "x"}), false),
            (json!({"column a": "1 int"}), json!({"column a": "1 bigint"}), true),
            (json!({"capture trigger bluegreen_capture": "1"}), json!({}), true),
            (json!({}), json!({"constraint c": "CHECK ((a > 0)) t"}), true),
            (json!({"constraint c": "CHECK ((a > 0)) t"}), json!({}), true),
            (json!("?"), json!({}), true),
        ] {
            assert!(way(recorded, now.clone(), is_live).starts_with("Undo"), "{now}");
        }
        assert!(way(json!({"column a": "1"}), json!({}), true).contains("save them first"));
    }

    #[test]
    fn what_a_part_was_and_is_can_be_read() {
        let said = |part: &str, before: &str, now: Option<&str>| {
            let recorded = json!({ part: before });
            let now = now.map_or(json!({}), |now| json!({ part: now }));
            values(&parts(&recorded, &now).unwrap_or_default())
        };
        for (part, before, now, expected) in [
            (
                "column a",
                "4 mood 0 f   'new'::mood",
                Some("4 feeling 0 f   'new'::feeling"),
                "column a: mood DEFAULT 'new'::mood before, feeling DEFAULT 'new'::feeling now.",
            ),
            (
                "column a",
                "2 timestamp(3) with time zone 0 f  ",
                Some("2 character varying(20) 100 t  "),
                "column a: timestamp(3) with time zone before, character varying(20) NOT NULL now.",
            ),
            (
                "column a",
                "2 text 100 f  ",
                Some("2 text 100 t  "),
                "column a: text before, text NOT NULL now.",
            ),
            (
                "index i",
                "CREATE UNIQUE INDEX i ON t USING btree (a) true false false 0",
                None,
                "index i: CREATE UNIQUE INDEX i ON t USING btree (a) before.",
            ),
            (
                "column a",
                "1 bigint 0 t d  ",
                Some("1 bigint 0 t  s (b + 1)"),
                "column a: bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY before, bigint NOT NULL GENERATED ALWAYS AS ((b + 1)) STORED now.",
            ),
            (
                "column a",
                "2 text 100 f  ",
                Some("2 text 950 f  "),
                "column a: 2 text 100 f   before, 2 text 950 f   now.",
            ),
            ("constraint c", "CHECK ((a > 0)) true", None, "constraint c: CHECK ((a > 0)) before."),
            ("grants", "", Some("{b=r/a}"), "grants: empty before, {b=r/a} now."),
        ] {
            assert_eq!(said(part, before, now).as_deref(), Some(expected), "{part}");
        }
        assert_eq!(said("rewritten column a", "10", Some("11")), None);
        let long = said("owner", &"é".repeat(500), Some("x")).unwrap_or_default();
        assert!(long.contains("é… before, x now"), "{long}");
    }

    #[test]
    fn what_was_added_removed_and_changed_is_named() {
        let before = json!({"column a": "int", "grants": "", "index i": "x", "owner": "app"});
        let after = json!({"column a": "bigint", "grants": "x", "owner": "app", "trigger t": "1"});
        assert_eq!(
            in_words(&differences(&before, &after)),
            "column a was changed; grants were changed; index i was removed; trigger t was added"
        );
        let more =
            json!({"column b": "1 int", "settings of column b": "p", "rewritten column b": "1"});
        assert_eq!(in_words(&differences(&json!({}), &more)), "column b was added");
        assert_eq!(in_words(&differences(&more, &json!({"file": "2"}))), "column b was removed");
        assert_eq!(in_words(&differences(&json!(1), &after)), "the definition cannot be compared");
        assert!(differences(&before, &before).is_empty());
    }
}
