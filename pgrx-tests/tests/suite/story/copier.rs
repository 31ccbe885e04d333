//! Deployments of `users` whose rows the fast copier writes.

use super::{Person, Scene};

/// Deploys `users` and asserts that the fast copier wrote the rows.
#[track_caller]
pub fn copy(scene: &Scene, arguments: &str) -> Person {
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', {arguments})"));
    owner.sync();
    assert_eq!(scene.status("phase"), "ready");
    assert_eq!(scene.status("copier"), "multi-insert");
    owner
}

/// The same for changes that all rows fit.
#[track_caller]
pub fn copy_changes(scene: &Scene, changes: &str) -> Person {
    let owner = copy(scene, &format!("$changes${changes}$changes$"));
    let misfits = scene.admin().list("SELECT key::text || ': ' || error FROM bg_misfits() LIMIT 3");
    assert!(misfits.is_empty(), "{misfits:?}");
    // No batch was halved and left to the server's own INSERT.
    assert!(writes(scene) < 30, "{changes:?}: {} writes", writes(scene));
    owner
}

/// In how many subtransactions blue's rows were written: one a batch, unless batches were halved.
fn writes(scene: &Scene) -> i64 {
    scene.admin().int("SELECT count(DISTINCT xmin::text) FROM public_blue.users")
}
