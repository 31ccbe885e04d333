//! Somebody holds ACCESS EXCLUSIVE on the table, which keeps out also those who only look at its definition.

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

#[test]
fn a_call_waits_for_the_table_in_a_bounded_time_and_names_the_holder() {
    let scene = STAGE.users(10);
    scene.table("other", "id int PRIMARY KEY");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut holder = scene.admin();
    let pid = holder.pid();
    holder.run("BEGIN; LOCK TABLE users, other IN ACCESS EXCLUSIVE MODE");
    owner.run("SET bluegreen.retry_for = '300 ms'");
    for call in [
        "SELECT * FROM bg_check('other')",
        "SELECT bg_prepare('other')",
        "SELECT bg_prepare('users', 'ADD COLUMN phone text')",
        "SELECT bg_swap('users')",
        "SELECT bg_abort('users')",
    ] {
        let refusal = owner.refused(call);
        assert_eq!(refusal.code, "55P03", "{call}: {refusal:?}");
        let told = refusal.everything();
        assert!(told.contains(&format!("pid {pid} ")), "{call}: {told}");
        assert!(told.contains("AccessExclusiveLock"), "{call}: {told}");
        refusal.assert_helps();
    }
    // Nobody else's lock is waited for longer than lock_timeout says either.
    owner.run("SET bluegreen.retry_for = '1 h'; SET lock_timeout = '300 ms'");
    assert_eq!(owner.refused("SELECT * FROM bg_check('other')").code, "55P03");
    owner.run("RESET lock_timeout; RESET bluegreen.retry_for");
    // What only tells waits for nobody.
    assert_eq!(scene.status("phase"), "ready");
    let blockers = "SELECT string_agg(DISTINCT pid::text, ' ') FROM bg_blockers('users')";
    assert_eq!(owner.text(blockers), pid.to_string());
    holder.run("ROLLBACK");
    owner.run("SELECT bg_swap('users')");
}
