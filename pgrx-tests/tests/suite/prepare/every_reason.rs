//! bg_check gives every reason in one call, each once and none that only follows from another one;
//! bg_prepare refuses with one of them.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// bg_check gives as many reasons as there are words, one with each; bg_prepare refuses in one of them.
#[track_caller]
fn all_are_told(scene: &Scene, owner: &mut Person, call: &str, words: &[&str]) {
    let before = scene.inventory();
    let told =
        owner.list(&format!("SELECT message FROM bg_check({call}) WHERE severity = 'error'"));
    let mut left = told.clone();
    for word in words {
        let Some(at) = left.iter().position(|message| message.contains(word)) else {
            panic!("{call}: nothing says {word}: {told:#?}");
        };
        left.remove(at);
    }
    assert!(left.is_empty(), "{call}: one too many: {left:#?} of {told:#?}");
    let refusal = owner.refused(&format!("SELECT bg_prepare({call})"));
    let is_told = told.iter().any(|message| message.starts_with(&refusal.message));
    assert!(is_told, "{call}: {refusal:?} is not among {told:#?}");
    before.assert_same(&scene.inventory());
}

#[test]
fn each_action_that_is_refused_is_told_whoever_refuses_it() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    for (changes, words) in [
        // The parser, the list of actions, the server; what is fine is not spoken of.
        (
            "ADD COLUM phone text, OWNER TO mallory, ADD COLUMN fine int, DROP COLUMN nothing,
             ADD COLUMN bad int DEFAULT 'x', , RENAME COLUMN nowhere TO somewhere;",
            &[
                "character 17",
                "OWNER TO",
                "nothing",
                "integer: \"x\"",
                "\",\" at character",
                "nowhere",
                "semicolon",
            ][..],
        ),
        // What only follows from another one has no reason of its own.
        (
            "ADD COLUM phone text, ALTER COLUMN phone SET NOT NULL, ADD CHECK (phone <> '')",
            &["character 17"][..],
        ),
        (
            "ALTER COLUMN fax SET NOT NULL, ADD CHECK (fax > 0), ADD COLUMN fax textt,
             ADD UNIQUE (fax), RENAME COLUMN fax TO telefax, ALTER COLUMN telefax SET DEFAULT 1",
            &["textt"][..],
        ),
        ("RENAME COLUMN nothing TO thing, ALTER COLUMN thing SET NOT NULL", &["nothing"][..]),
        ("ADD COLUMN number bigint PRIMARY KEY DEFAULT nix(), DROP COLUMN id", &["nix"][..]),
        // The same column, but for reasons of their own.
        (
            "ADD CHECK (nothing > 0), ADD CHECK (nothing < 9), ADD COLUMN a textt, ADD COLUMN b textt",
            &["nothing", "textt"][..],
        ),
        // ALTER TABLE takes them in an order of its own.
        (
            "ADD CONSTRAINT positive CHECK (later > 0), ADD COLUMN later int, DROP COLUMN nothing,
             ALTER COLUMN name TYPE int",
            &["nothing", "name"][..],
        ),
        (
            "ALTER COLUMN name TYPE varchar(9), ALTER COLUMN name TYPE varchar(8),
             RENAME COLUMN email TO mail, RENAME COLUMN mail TO post, ALTER COLUMN post SET NOT NULL,
             DROP COLUMN nothing",
            &["type of column name twice", "rename column mail twice", "nothing"][..],
        ),
        ("ADD FOREIGN KEY (name) REFERENCES nowhere, ADD FOREIGN KEY (nil) REFERENCES users", &["nowhere", "nil"][..]),
    ] {
        all_are_told(&scene, &mut owner, &format!("'users', $c${changes}$c$"), words);
    }
}

#[test]
fn each_entry_of_a_mapping_that_does_not_fit_is_told_and_the_key_besides() {
    let scene = STAGE.users(3);
    scene.table("keyed", "id bigint PRIMARY KEY, a text, b text, c text");
    let mut owner = scene.owner();
    for (call, words) in [
        (
            r#"'users', 'ADD COLUMN phone text',
               forward => '{"fone": "name", "phone": "nothing", "name": 7, "email": "lower("}',
               reverse => '{"nix": "phone", "name": "gone"}'"#,
            &["fone", "nothing", "column name: its value", "column \"email\"", "nix", "gone"][..],
        ),
        // Of a column that is not there because it was refused nothing more is said.
        (
            r#"'users', 'ADD COLUMN phone textt', forward => '{"phone": "name"}',
               reverse => '{"name": "phone"}'"#,
            &["textt"][..],
        ),
        (
            r#"'keyed', 'DROP CONSTRAINT keyed_pkey, ALTER COLUMN a TYPE int USING 1, ALTER COLUMN b TYPE int USING 2, ADD COLUMN must int NOT NULL'"#,
            &["column a gets", "column b gets", "key column id", "column must"][..],
        ),
        (
            r#"'keyed', key => ARRAY['nothing'], forward => '{"a": "x", "b": "y"}'"#,
            &["(nothing)", "\"x\"", "\"y\""][..],
        ),
    ] {
        all_are_told(&scene, &mut owner, call, words);
    }
}

#[test]
fn each_object_that_cannot_be_carried_is_told_but_not_what_only_uses_it() {
    let scene = STAGE.users(3);
    scene.admin().run(
        "CREATE VIEW names AS SELECT id, name FROM users; CREATE VIEW more_names AS SELECT * FROM names;
         CREATE VIEW emails AS SELECT id, email FROM users;
         CREATE POLICY named ON users USING (name IS NOT NULL);
         CREATE TABLE guarded (id bigint PRIMARY KEY);
         CREATE POLICY known ON guarded USING (id IN (SELECT users.id FROM users WHERE email <> ''));
         CREATE PUBLICATION feed FOR TABLE users (id, name) WHERE (id > 0);
         CREATE TABLE taken_a (); CREATE TABLE taken_b ()",
    );
    let mut owner = scene.owner();
    all_are_told(
        &scene,
        &mut owner,
        "'users', 'DROP COLUMN name, DROP COLUMN email, ADD CONSTRAINT taken_a UNIQUE (id),
          ADD CONSTRAINT taken_b UNIQUE (created_at), DROP COLUMN nothing'",
        &[
            "view public.names ",
            "view public.emails ",
            "policy named",
            "policy known",
            "publication feed",
            "taken_a",
            "taken_b",
            "nothing",
        ],
    );
}

#[test]
fn what_is_known_before_is_told_with_what_is_found_by_trying() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE other (u users); CREATE TABLE child () INHERITS (users);
         CREATE VIEW a_view AS SELECT 1 AS id; CREATE VIEW names AS SELECT name FROM users",
    );
    all_are_told(
        &scene,
        &mut admin,
        "'users', 'DROP COLUMN nothing, DROP COLUMN name'",
        &["public.other", "child", "nothing", "view public.names"],
    );
    // Nothing is tried where there is no table; but changes are read.
    all_are_told(&scene, &mut admin, "'a_view', 'DROP COLUMN nothing'", &["a view"]);
    all_are_told(&scene, &mut admin, "'a_view', 'ADD COLUM x int'", &["a view", "character"]);
    let refusal = admin.refused("SELECT bg_prepare('users')");
    assert!(refusal.detail.contains("bg_check"), "{refusal:?}");
}

#[test]
fn each_reason_against_a_target_is_told() {
    let scene = STAGE.users(3);
    scene.table(
        "target",
        "id bigint PRIMARY KEY, name int, email text, created_at timestamptz, must int NOT NULL",
    );
    scene.admin().run(
        "INSERT INTO target (id, must) VALUES (1, 1); CREATE VIEW on_target AS SELECT id FROM target;
         CREATE VIEW another AS SELECT id FROM target; ALTER TABLE target REPLICA IDENTITY FULL",
    );
    all_are_told(
        &scene,
        &mut scene.owner(),
        "'users', target => 'target'",
        &["not empty", "on_target", "another", "replica identity", "column name", "column must"],
    );
}
