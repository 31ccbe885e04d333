//! What a call says when it is written wrongly or has to wait: something that can be followed, at once, and once.

use std::time::{Duration, Instant};

use crate::story::{Errand, Scene, Stage, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";

fn prepared(rows: u32) -> Scene {
    let scene = STAGE.users(rows);
    scene.owner().run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    scene
}

#[test]
fn a_value_for_the_result_of_bg_run_is_refused_and_names_the_argument_that_is_meant() {
    let scene = prepared(20);
    let mut owner = scene.owner();
    let refusal = owner.refused("CALL bg_run('users', phase => 'swapped')");
    refusal.assert_is("22023", &["phase"]);
    assert!(refusal.hint.contains("until => 'swapped'"), "{refusal:?}");
    assert_eq!(scene.status("phase"), "prepared");
    owner.refused("CALL bg_run('users', 'ready', 'swapped')").assert_is("22023", &["phase"]);
    owner.run("CALL bg_run('users', phase => NULL)");
    assert_eq!(scene.status("phase"), "ready");
    // A driver's parameter, and a variable, are places for the result.
    owner.run("CALL bg_run('users', until => 'swapped')");
    assert_eq!(scene.status("phase"), "swapped");
}

/// A block of PL/pgSQL that is sent alone may commit, where it has a variable for the result.
#[test]
fn a_block_needs_a_variable_for_the_result() {
    let scene = prepared(20);
    let mut owner = scene.owner();
    owner.run(
        "DO $$ DECLARE reached text;
         BEGIN
             CALL bg_run('users', 'ready', reached);
             ASSERT reached = 'ready';
             CALL bg_run('users', 'swapped', reached);
             ASSERT reached = 'swapped';
         END $$",
    );
    assert_eq!(scene.status("phase"), "swapped");
    let refusal = owner.refused("DO $$ BEGIN CALL bg_run('users'); END $$");
    assert!(refusal.message.contains("output parameter"), "{refusal:?}");
}

#[test]
fn the_hint_for_a_repeatable_read_transaction_can_be_followed() {
    let scene = prepared(20);
    for call in ["SELECT bg_swap('users')", "SELECT bg_resume('users')", "CALL bg_run('users')"] {
        let mut owner = scene.owner();
        owner.run("SET default_transaction_isolation = 'repeatable read'");
        let refusal = owner.refused(call);
        refusal.assert_is("25001", &["REPEATABLE READ"]);
        let (statement, rest) = refusal.hint.split_once(" and ").expect("a hint with a statement");
        assert!(rest.contains("new transaction"), "{refusal:?}");
        owner.run(statement);
        let then = owner.try_run(call);
        assert!(then.as_ref().err().is_none_or(|e| e.code != "25001"), "{call}: {then:?}");
    }
    let mut owner = scene.owner();
    owner.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let refusal = owner.refused("SELECT bg_pause('users')");
    let (statement, _) = refusal.hint.split_once(" and ").expect("a hint with a statement");
    owner.run(&format!("ROLLBACK; {statement}; BEGIN; SELECT bg_pause('users'); COMMIT"));
    assert_eq!(scene.status("paused"), "t");
}

#[test]
fn who_blocks_is_named_once() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    let mut holders = [scene.app(), scene.app()];
    for (number, holder) in holders.iter_mut().enumerate() {
        holder.run(&format!(
            "BEGIN; SELECT count(*) FROM users; UPDATE users SET name = 'x' WHERE id = {number} + 1;
             SELECT count(*) FROM public_blue.users"
        ));
    }
    let pids = [holders[0].pid(), holders[1].pid()];
    for (call, code) in [
        ("SELECT bg_swap('users', retry_for => '300 ms')", "55P03"),
        ("SET bluegreen.retry_for = '300ms'; SELECT bg_abort('users')", "55P03"),
    ] {
        let refusal = owner.refused(call);
        assert_eq!(refusal.code, code, "{refusal:?}");
        for pid in pids {
            let said = refusal.everything().matches(&format!("pid {pid} ")).count();
            assert_eq!(said, 1, "{call}: {refusal:?}");
        }
    }
    // A row for each session, with all of its locks.
    let mut rows = owner.rows("SELECT pid, what FROM bg_blockers('users') ORDER BY pid");
    rows.sort();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let what = rows[0][1].clone().unwrap();
    for part in
        ["AccessShareLock on public.users", "RowExclusiveLock on public.users", "public_blue.users"]
    {
        assert!(what.contains(part), "no {part} in {what}");
    }
    holders.iter_mut().for_each(|holder| holder.run("ROLLBACK"));
    owner.swap();
}

/// The one transaction that nobody may see has ended: its own client has forgotten it.
#[test]
fn whoever_waits_behind_an_uncommitted_abort_is_told_so_at_once_and_ends_soon() {
    let calls = [
        "SELECT bg_prepare('users', 'ADD COLUMN phone text')",
        "SELECT bg_backfill('users')",
        "CALL bg_run('users')",
        "SELECT bg_swap('users')",
        "SELECT bg_abort('users')",
        "SELECT bg_pause('users')",
        "SELECT bg_verify('users')",
    ];
    let mut waiting = Vec::new();
    for call in calls {
        let scene = STAGE.users(20);
        let mut owner = scene.owner();
        owner.make_ready(CHANGES);
        owner.run("BEGIN; SELECT bg_abort('users')");
        let pid = owner.pid();
        let mut other = scene.owner();
        other.run("SET statement_timeout = '40 s'");
        let begin = Instant::now();
        waiting.push((call, scene, owner, pid, begin, Errand::start(other, call)));
    }
    for (call, scene, mut owner, pid, begin, errand) in waiting {
        let (mut other, result) = errand.result();
        let took = begin.elapsed();
        let told: Vec<_> = other.notices().into_iter().map(|notice| notice.message).collect();
        println!("{call}: {took:?}, {told:?}, {result:?}");
        let refusal = result.expect_err(call);
        assert_eq!(refusal.code, "55P03", "{call}: {refusal:?}");
        assert!(took < Duration::from_secs(14), "{call} took {took:?}");
        assert!(refusal.message.contains(&format!("pid {pid}")), "{call}: {refusal:?}");
        let waits = format!(
            "waiting for another session that works on the deployment of public.users (pid {pid})"
        );
        assert!(told.contains(&waits), "{call}: {told:?}");
        owner.run("ROLLBACK");
        scene.owner().run("CALL bg_run('users', 'swapped')");
    }
}

/// Not only calls of ours lock a table.
#[test]
fn bg_verify_behind_a_lock_of_the_application_names_who_has_it() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    let mut holder = scene.owner();
    holder.run("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
    let refusal = owner.refused("SELECT count(*) FROM bg_verify('users')");
    refusal.assert_is("55P03", &["public.users", &format!("pid {}", holder.pid())]);
    let told: Vec<_> = owner.notices().into_iter().map(|notice| notice.message).collect();
    let waits = "waiting for the locks on public.users and its offline table";
    assert_eq!(told.last().map(String::as_str), Some(waits), "{told:?}");
    holder.run("ROLLBACK");
    assert!(owner.list("SELECT key FROM bg_verify('users')").is_empty());
}
