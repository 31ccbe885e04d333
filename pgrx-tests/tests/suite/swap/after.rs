//! What a swap tells its caller of what comes next.

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

/// The lines about what comes next.
fn told(person: &mut Person) -> Vec<String> {
    let notices = person.notices().into_iter().map(|notice| notice.message);
    notices
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.starts_with("after the swap"))
        .collect()
}

#[test]
fn a_swap_tells_what_comes_next_and_each_statement_of_it_works() {
    let scene = STAGE.users(10);
    scene.table("visits", "id int PRIMARY KEY, who bigint REFERENCES users");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.notices();
    owner.run("SELECT bg_swap('users')");
    let said = told(&mut owner);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("renew the clients' connections"), "{said:?}");
    assert!(said[0].contains("validates the foreign keys"), "{said:?}");
    let statements: Vec<_> = ["CALL bg_run", "SELECT bg_revert", "SELECT bg_finish"]
        .iter()
        .map(|verb| {
            let rest = &said[0][said[0].find(verb).unwrap()..];
            rest[..=rest.find(')').unwrap()].to_owned()
        })
        .collect();
    owner.run(&statements[0]);
    assert_eq!(scene.status("not_valid"), "0");
    owner.run(&statements[1]);
    assert_eq!(told(&mut owner), Vec::<String>::new(), "a revert leads nowhere");
    owner.run("CALL bg_run('users', 'swapped')");
    let said = told(&mut owner);
    assert!(said[0].contains("keeps the old table in step"), "{said:?}");
    assert!(!said[0].contains("validates"), "the run did it: {said:?}");
    owner.run(&statements[2]);
}

#[test]
fn nothing_is_told_of_pools_where_no_column_changes_and_nothing_of_a_finished_deployment() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    owner.refused("SELECT bg_swap('users')");
    assert_eq!(told(&mut owner), Vec::<String>::new(), "it is not swapped");
    owner.run("SELECT bg_abort('users')");
    owner.make_ready("ADD CONSTRAINT named CHECK (name IS NOT NULL) NOT VALID");
    owner.notices();
    owner.run("SELECT bg_swap('users')");
    let said = told(&mut owner);
    assert!(said[0].contains("CALL bg_run") && !said[0].contains("renew"), "{said:?}");
    owner.run("SELECT bg_finish('users')");
    owner.make_ready("");
    owner.notices();
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(told(&mut owner), Vec::<String>::new());
}
