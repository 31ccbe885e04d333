//! Differences between the two tables, made as a fault of ours would make them: the live table is
//! changed, and what capture wrote of it is taken out of the log.

use super::{Person, Scene};

/// Runs `sql` on the live table without anybody noticing.
pub fn behind_our_back(scene: &Scene, sql: &str) {
    let mut admin = scene.admin();
    let id = admin.int("SELECT id FROM bg_status('users')");
    let log = match scene.status("phase").as_str() {
        "swapped" => format!("bluegreen.reverse_{id}"),
        _ => format!("bluegreen.forward_{id}"),
    };
    // In one transaction: others may be writing, and their changes stay.
    admin.run(&format!(
        "BEGIN;
         {sql};
         DELETE FROM {log} WHERE xmin = pg_current_xact_id()::xid;
         COMMIT"
    ));
}

/// Keys and problems, in order.
pub fn problems(person: &mut Person, from: &str) -> Vec<String> {
    person
        .list(&format!("SELECT key::text || ' ' || problem FROM {from} ORDER BY (key->>'id')::int"))
}

/// bg_verify finds nothing.
#[track_caller]
pub fn assert_verified(person: &mut Person) {
    let found = person.rows("SELECT key, problem FROM bg_verify('users') LIMIT 5");
    assert!(found.is_empty(), "{found:?}");
}
