//! What bg_status shows as the next step: one statement that leads on, or what somebody has to decide first.

use crate::ident::literal;
use crate::model::phase::Phase;
use crate::model::plan::Arguments;
use crate::model::progress::Failed;
use crate::plan::difference::Way;

/// What decides it, of a deployment whose tables are there.
#[derive(Debug, Clone)]
pub(crate) struct Situation<'a> {
    /// The deployment's number.
    pub id: i64,
    /// The live table as messages name it.
    pub table: &'a str,
    pub phase: Phase,
    pub paused: bool,
    /// A prepared transaction that has changed it.
    pub prepared: Option<&'a str>,
    /// The session in `CALL bg_run`.
    pub runner: Option<i32>,
    /// What that session waits for.
    pub waits_for: Option<&'a str>,
    /// Rows that cannot be written to the other table.
    pub misfits: i64,
    /// More changes wait than the swap's own transaction may bring in.
    pub backlog: bool,
    /// A definition is not as the deployment left it.
    pub changed: Option<Way>,
    /// The call of bg_prepare that began it.
    pub prepare: &'a str,
    /// How the last run failed, if nothing was done since.
    pub failed: Option<&'a Failed>,
    /// How often the copy has begun again because the table was rewritten.
    pub rewritten: u64,
}

/// The call, and what the error of the last one asks for before it is repeated.
fn again(failed: Option<&Failed>, table: &str, call: String) -> String {
    let Some(failed) = failed else { return call };
    match (&failed.code[..], &failed.hint) {
        ("55P03", _) => format!(
            "End what SELECT * FROM bg_blockers({table}) shows, or wait until it has ended, then {call}"
        ),
        ("57014", _) => {
            format!("{call} -- after SET statement_timeout = 0, if that ended the last one")
        }
        // The end of the session or of the server.
        (code, _) if code.starts_with("57") => call,
        (_, Some(hint)) => format!("{call} when this is done: {hint}"),
        (_, None) => format!("Correct what last_error names, then {call}"),
    }
}

/// Whether the error of the last run asks for more than to repeat it.
fn asks(failed: Option<&Failed>) -> bool {
    failed.is_some_and(|failed| !failed.code.starts_with("57"))
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The statement, or a sentence that begins with none.
pub(crate) fn next_step(now: &Situation<'_>) -> String {
    let table = literal(now.table);
    let again = |call| again(now.failed, &table, call);
    if let Some(gid) = now.prepared.map(literal) {
        return format!(
            "End the prepared transaction that has changed it: COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}"
        );
    }
    match (now.phase, now.runner) {
        (Phase::Finished | Phase::Aborted, _) => "none".to_owned(),
        (Phase::Swapped, _) if now.changed == Some(Way::End) => format!(
            "SELECT bg_finish({table}) -- the old table may lack writes, so that a revert is not possible"
        ),
        (Phase::Swapped, _) if now.changed.is_some() => format!(
            "Undo the change that last_error names, or keep the new table: SELECT bg_finish({table})"
        ),
        (_, _) if now.changed == Some(Way::Prepare) => now.prepare.to_owned(),
        (_, _) if now.changed == Some(Way::End) => format!(
            "SELECT bg_abort({}) -- and begin again: writes may be missing from the copy",
            now.id
        ),
        (_, _) if now.changed == Some(Way::SaveAndAbort) => format!(
            "Save the values of the dropped column from the offline table, which has the only copy, if they are needed; then SELECT bg_abort({}) and begin again",
            now.id
        ),
        (_, _) if now.changed.is_some() => format!(
            "Undo the change that last_error names, or SELECT bg_abort({}) and begin again",
            now.id
        ),
        (_, _) if now.paused => format!("SELECT bg_resume({table})"),
        (_, Some(pid)) if now.waits_for.is_some() => format!(
            "none: the session with pid {pid} waits ({}); to change a limit, end it with SELECT pg_cancel_backend({pid}), SET the limit and CALL bg_run({table}) again in one session",
            now.waits_for.unwrap_or_default()
        ),
        (_, Some(pid)) => format!("none: the session with pid {pid} is working on it"),
        (Phase::Prepared | Phase::Copying, None) if now.rewritten > 0 && !asks(now.failed) => {
            format!(
                "CALL bg_run({table}) -- the copy has begun again {}, because the table was rewritten: VACUUM FULL, CLUSTER and TRUNCATE have to wait until it is ready",
                times(now.rewritten)
            )
        }
        (Phase::Prepared | Phase::Copying | Phase::Indexing, None) => {
            again(format!("CALL bg_run({table})"))
        }
        (Phase::Ready, None) if now.misfits > 0 => {
            format!("Correct the rows of bg_misfits() in {}, then CALL bg_run({table})", now.table)
        }
        (Phase::Ready, None) if now.backlog => again(format!("CALL bg_run({table}, 'swapped')")),
        (Phase::Ready, None) => again(format!("SELECT bg_swap({table})")),
        (Phase::Swapped, None) if now.misfits > 0 => format!(
            "Keep the new table with SELECT bg_finish({table}); before a revert, correct the rows of bg_misfits()"
        ),
        (Phase::Swapped, None) => format!(
            "Keep the new table with SELECT bg_finish({table}), or bring the old one back with SELECT bg_revert({table})"
        ),
    }
}

/// The same as a standby says it: nothing can be done there, and of the session that was working on it, it knows
/// no more than its number.
pub(crate) fn on_primary(step: &str, runner: Option<i32>) -> String {
    match runner {
        Some(pid) => {
            format!("On the primary, unless the session with pid {pid} works on it there: {step}")
        }
        None => format!("On the primary: {step}"),
    }
}

/// The call of bg_prepare that made a deployment without a target.
pub(crate) fn prepare_call(table: &str, arguments: &Arguments) -> String {
    let mut call = format!("SELECT bg_prepare({}", literal(table));
    if !arguments.changes.is_empty() {
        call += &format!(", {}", literal(&arguments.changes));
    }
    for (name, expressions) in [("forward", &arguments.forward), ("reverse", &arguments.reverse)] {
        if !expressions.is_empty() {
            let json = serde_json::Value::Object(expressions.clone()).to_string();
            call += &format!(", {name} => {}", literal(&json));
        }
    }
    if let Some(key) = &arguments.key {
        let columns: Vec<_> = key.iter().map(|column| literal(column)).collect();
        call += &format!(", key => ARRAY[{}]", columns.join(", "));
    }
    call + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Situation<'static> = Situation {
        id: 9,
        table: "public.it's",
        phase: Phase::Ready,
        paused: false,
        prepared: None,
        runner: None,
        waits_for: None,
        misfits: 0,
        backlog: false,
        changed: None,
        prepare: "SELECT bg_prepare('public.it''s', 'ADD COLUMN phone text')",
        failed: None,
        rewritten: 0,
    };

    #[test]
    fn a_statement_names_the_table_as_a_literal() {
        assert_eq!(next_step(&READY), "SELECT bg_swap('public.it''s')");
        let copying = Situation { phase: Phase::Copying, ..READY };
        assert_eq!(next_step(&copying), "CALL bg_run('public.it''s')");
    }

    #[test]
    fn what_stands_in_the_way_comes_before_the_phase() {
        let paused = Situation { paused: true, runner: Some(7), misfits: 1, ..READY };
        assert_eq!(next_step(&paused), "SELECT bg_resume('public.it''s')");
        let run = Situation { runner: Some(7), misfits: 1, ..READY };
        assert_eq!(next_step(&run), "none: the session with pid 7 is working on it");
        let waits = next_step(&Situation { waits_for: Some("too little space"), ..run });
        assert!(waits.contains("too little space") && waits.contains("pg_cancel_backend(7)"));
        let misfits = Situation { misfits: 1, backlog: true, ..READY };
        assert!(next_step(&misfits).starts_with("Correct the rows of bg_misfits()"));
        let backlog = Situation { backlog: true, ..READY };
        assert_eq!(next_step(&backlog), "CALL bg_run('public.it''s', 'swapped')");
        let prepared = Situation { prepared: Some("g"), paused: true, ..READY };
        assert!(next_step(&prepared).contains("COMMIT PREPARED 'g'"));
        let changed = Situation { changed: Some(Way::Prepare), paused: true, ..READY };
        assert_eq!(next_step(&changed), READY.prepare);
        let changed = Situation { changed: Some(Way::Undo), ..READY };
        assert!(next_step(&changed).contains("SELECT bg_abort(9)"));
    }

    #[test]
    fn the_call_of_prepare_has_the_arguments_that_were_given() {
        let mut arguments =
            Arguments { changes: "ADD COLUMN a text DEFAULT 'x'".to_owned(), ..Default::default() };
        let call = |arguments: &Arguments| prepare_call("users", arguments);
        assert_eq!(
            call(&arguments),
            "SELECT bg_prepare('users', 'ADD COLUMN a text DEFAULT ''x''')"
        );
        arguments.changes.clear();
        arguments.forward.insert("a".to_owned(), "b || 'c'".into());
        arguments.key = Some(vec!["id".to_owned(), "part".to_owned()]);
        assert_eq!(
            call(&arguments),
            "SELECT bg_prepare('users', \
             forward => '{\"a\":\"b || ''c''\"}', key => ARRAY['id', 'part'])"
        );
    }

    #[test]
    fn what_an_error_asks_for_comes_before_the_call_is_repeated() {
        let copying = Situation { phase: Phase::Copying, ..READY };
        let failed = |code: &str, hint: Option<&str>| Failed {
            code: code.to_owned(),
            hint: hint.map(ToOwned::to_owned),
        };
        let after = |failed: &Failed| next_step(&Situation { failed: Some(failed), ..copying });
        let call = "CALL bg_run('public.it''s')";
        assert_eq!(after(&failed("57P01", Some("Repeat it."))), call);
        assert_eq!(
            after(&failed("57014", Some("Repeat it."))),
            format!("{call} -- after SET statement_timeout = 0, if that ended the last one")
        );
        let again = Situation { rewritten: 4, failed: None, ..copying };
        let said = next_step(&again);
        assert!(
            said.starts_with(&format!("{call} -- the copy has begun again 4 times,")),
            "{said}"
        );
        let data = failed("23505", Some("Correct the rows."));
        let both = Situation { rewritten: 4, failed: Some(&data), ..copying };
        assert!(next_step(&both).ends_with("Correct the rows."), "the error comes first");
        let lost = Situation { changed: Some(Way::SaveAndAbort), ..READY };
        assert!(next_step(&lost).starts_with("Save the values"), "before they are dropped");
        assert_eq!(
            after(&failed("55P03", Some("Look."))),
            format!(
                "End what SELECT * FROM bg_blockers('public.it''s') shows, or wait until it has ended, then {call}"
            )
        );
        assert_eq!(
            after(&failed("23505", Some("Correct the rows."))),
            format!("{call} when this is done: Correct the rows.")
        );
        assert_eq!(
            after(&failed("XX000", None)),
            format!("Correct what last_error names, then {call}")
        );
    }

    #[test]
    fn after_the_swap_somebody_has_to_decide() {
        let swapped = Situation { phase: Phase::Swapped, ..READY };
        for verb in ["bg_finish", "bg_revert"] {
            assert!(next_step(&swapped).contains(verb));
        }
        let changed = Situation { phase: Phase::Swapped, changed: Some(Way::Prepare), ..READY };
        assert!(next_step(&changed).starts_with("Undo the change"));
    }
}
