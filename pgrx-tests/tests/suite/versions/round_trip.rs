//! A whole deployment, there and back and there again, through which something is looked at.

use crate::story::{Person, Scene};

/// What is looked at: a query over the live table, or over what hangs on it.
pub struct RoundTrip<'a> {
    pub scene: &'a Scene,
    pub look: &'a str,
}

impl RoundTrip<'_> {
    /// What is seen now, as the superuser sees it.
    pub fn seen(&self) -> Vec<String> {
        self.scene.admin().list(self.look)
    }

    /// Prepare, run, swap, revert, swap and finish: while the old table is live there is what was there, and what
    /// the changes make of it while the new one is.
    #[track_caller]
    pub fn assert(&self, changes: &str, after: &[&str]) {
        let before = self.seen();
        let mut owner = self.scene.owner();
        owner.make_ready(changes);
        assert_eq!(self.seen(), before, "ready");
        let write = |person: &mut Person, name: &str| {
            person.run(&format!("INSERT INTO users (name, email) VALUES ('{name}', '{name}')"));
        };
        let mut app = self.scene.app();
        for (until, expected) in [("swapped", after), ("reverted", &[]), ("swapped", after)] {
            owner.run(&format!("CALL bg_run('users', '{until}')"));
            match expected {
                [] => assert_eq!(self.seen(), before, "{until}"),
                _ => assert_eq!(self.seen(), after, "{until}"),
            }
            let rows = app.int("SELECT count(*) FROM users");
            write(&mut app, &format!("{until} {rows}"));
            assert_eq!(app.int("SELECT count(*) FROM users"), rows + 1);
            app.run("DELETE FROM users WHERE name LIKE 'swapped%' OR name LIKE 'reverted%'");
        }
        owner.run("SELECT bg_finish('users')");
        assert_eq!(self.seen(), after, "finished");
        assert_eq!(self.scene.inventory().with("_blue"), [""; 0]);
    }
}
