//! Where the fast copier does not apply, the server's own INSERT copies and says so.
//!
//! A table made by hand is refused when it has triggers or rules, and a change of blue stops the next
//! batch. So the only way there is an ambush: somebody who changes blue and commits when a batch has
//! looked at blue already and waits for its lock.

use crate::story::errand::run_with;
use crate::story::person::Refusal;
use crate::story::throttled::{BLOCKS, SLOWLY, prepare};
use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// Writes every row that is copied to `seen`.
const LOOK: &str =
    "CREATE TRIGGER look AFTER INSERT ON public_blue.users FOR EACH ROW EXECUTE FUNCTION see()";

/// `users`, with so few blocks that one batch copies them, and a place for what fires on blue.
fn with_eye(rows: u32) -> Scene {
    let scene = STAGE.users(rows);
    scene.admin().run(
        "CREATE TABLE seen (what text, id bigint, who name DEFAULT current_user);
         ALTER TABLE seen OWNER TO owner;
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO public.seen VALUES (TG_NAME, CASE TG_LEVEL WHEN 'ROW' THEN NEW.id END);
             RETURN NEW;
         END $$",
    );
    scene
}

/// Lets a batch run into `trap`, a statement of the owner's on blue; the next batch has found it.
#[track_caller]
fn ambush(scene: &Scene, trap: &str) -> Refusal {
    let mut ambush = scene.owner();
    ambush.run(&format!("BEGIN; {trap}"));
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_queued(1);
    ambush.run("COMMIT");
    run.refused()
}

/// Lets a batch run into `trap` and asserts that the server's INSERT copied for this reason. `undo`
/// takes the trap away.
#[track_caller]
fn copy_into(scene: &Scene, trap: &str, undo: &str, why: &str) {
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text DEFAULT ''none''')");
    ambush(scene, trap).assert_is("55000", &["users"]);
    assert_eq!(scene.status("copier"), format!("insert: {why}"));
    assert_eq!(scene.status("phase"), "indexing");

    owner.run(undo);
    owner.sync();
    assert_eq!(scene.status("phase"), "ready");
    let how = scene.admin().text("SELECT detail FROM bg_history() WHERE step = 'copy'");
    assert_eq!(how, format!("insert: {why}"));
}

/// What blue must be.
#[track_caller]
fn assert_copied(scene: &Scene, rows: &str, phone: &str) {
    scene.assert_same(
        &format!("SELECT {COLUMNS}, {phone} FROM users {rows}"),
        &format!("SELECT {COLUMNS}, phone FROM public_blue.users"),
    );
}

#[test]
fn row_triggers_fire_for_every_row_as_the_tables_owner() {
    for when in ["BEFORE", "AFTER"] {
        let scene = with_eye(5000);
        copy_into(
            &scene,
            &format!(
                "CREATE TRIGGER look {when} INSERT ON public_blue.users FOR EACH ROW EXECUTE FUNCTION see()"
            ),
            "DROP TRIGGER look ON public_blue.users",
            "it has triggers",
        );
        assert_copied(&scene, "", "'none'");
        scene.assert_same("SELECT id, 'owner'::name FROM users", "SELECT id, who FROM seen");
    }
}

#[test]
fn what_a_trigger_makes_of_a_row_is_what_arrives() {
    let scene = with_eye(3000);
    scene.admin().run(
        "CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.phone = '+' || NEW.id; RETURN NEW; END $$",
    );
    copy_into(
        &scene,
        "CREATE TRIGGER number BEFORE INSERT ON public_blue.users FOR EACH ROW EXECUTE FUNCTION number()",
        "DROP TRIGGER number ON public_blue.users",
        "it has triggers",
    );
    assert_copied(&scene, "", "'+' || id");
}

#[test]
fn statement_triggers_fire_with_their_transition_tables() {
    let scene = with_eye(2000);
    scene.admin().run(
        "CREATE FUNCTION count_new() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO public.seen SELECT 'new', id FROM new_rows; RETURN NULL; END $$",
    );
    copy_into(
        &scene,
        "CREATE TRIGGER before_all BEFORE INSERT ON public_blue.users EXECUTE FUNCTION see();
         CREATE TRIGGER counted AFTER INSERT ON public_blue.users REFERENCING NEW TABLE AS new_rows
             EXECUTE FUNCTION count_new()",
        "DROP TRIGGER before_all ON public_blue.users; DROP TRIGGER counted ON public_blue.users",
        "it has triggers",
    );
    assert_copied(&scene, "", "'none'");
    assert_eq!(scene.admin().int("SELECT count(*) FROM seen WHERE what = 'before_all'"), 1);
    scene.assert_same("SELECT id FROM users", "SELECT id FROM seen WHERE what = 'new'");
}

#[test]
fn rows_that_do_not_fit_become_misfits_and_leave_nothing_of_what_triggers_did() {
    let scene = with_eye(3000);
    scene.app().run("UPDATE users SET name = 'bad' WHERE id IN (7, 2999)");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD CHECK (name <> ''bad'')')");
    ambush(&scene, LOOK);
    scene.assert_same("SELECT id FROM users WHERE name <> 'bad'", "SELECT id FROM seen");

    owner.run("DROP TRIGGER look ON public_blue.users");
    owner.sync();
    let misfits = scene.admin().list("SELECT key->>'id' FROM bg_misfits() ORDER BY 1");
    assert_eq!(misfits, ["2999", "7"]);
    scene.assert_same(
        &format!("SELECT {COLUMNS} FROM users WHERE name <> 'bad'"),
        &format!("SELECT {COLUMNS} FROM public_blue.users"),
    );
}

#[test]
fn the_copier_is_named_also_where_the_last_block_had_to_be_copied_line_by_line() {
    let scene = with_eye(3000);
    scene.app().run("UPDATE users SET name = 'bad' WHERE id = 3000");
    scene.owner().run("SELECT bg_prepare('users', 'ADD CHECK (name <> ''bad'')')");
    ambush(&scene, LOOK);
    assert_eq!(scene.status("rows_copied"), "2999");
    assert_eq!(scene.status("copier"), "insert: it has triggers");
}

/// Whoever owns the table may put rules on blue; what they make of the copy's statements is not run.
#[test]
fn a_rule_on_blue_copies_no_row_twice_and_loses_none() {
    for action in [
        "DO ALSO INSERT INTO public.seen VALUES ('rule', NEW.id)",
        "DO INSTEAD INSERT INTO public.seen VALUES ('rule', NEW.id)",
        "DO INSTEAD UPDATE public.other SET n = 12345",
        "DO INSTEAD DELETE FROM public.other",
        "DO INSTEAD NOTHING",
    ] {
        let scene = with_eye(3000);
        scene.admin().run(
            "CREATE TABLE other (name text, n int); INSERT INTO other VALUES ('a', 1);
             ALTER TABLE other OWNER TO owner",
        );
        scene.owner().run("SELECT bg_prepare('users', 'ADD COLUMN phone text DEFAULT ''none''')");
        let rule = format!("CREATE RULE noted AS ON INSERT TO public_blue.users {action}");
        let refusal = ambush(&scene, &rule);
        // By the comparison of the definitions, or by the copy itself between two of them.
        assert!(["55000", "42P17"].contains(&refusal.code.as_str()), "{action}: {refusal:?}");
        assert!(refusal.everything().contains("rule"), "{action}: {refusal:?}");
        assert_eq!(scene.admin().int("SELECT count(*) FROM seen"), 0, "{action}");
        assert_eq!(scene.admin().text("SELECT name || n FROM other"), "a1", "{action}");

        scene.owner().run("DROP RULE noted ON public_blue.users");
        scene.owner().sync();
        assert_copied(&scene, "", "'none'");
    }
}

/// The definitions are compared once in a second of the copy; a batch in between sees the rule itself.
#[test]
fn a_rule_that_comes_between_two_batches_stops_the_copy() {
    for action in ["DO INSTEAD NOTHING", "DO INSTEAD UPDATE public.other SET n = 12345"] {
        let scene = STAGE.empty();
        scene.admin().run(
            "CREATE TABLE other (name text, n int); INSERT INTO other VALUES ('a', 1);
             ALTER TABLE other OWNER TO owner",
        );
        scene.add_wide_users(BLOCKS);
        prepare(&scene);
        let run = run_with(&scene, SLOWLY);
        scene.until("SELECT rows_copied > 0 FROM bg_status()");
        scene.owner().run(&format!("CREATE RULE r AS ON INSERT TO public_blue.users {action}"));
        let refusal = run.refused();
        refusal.assert_is("42P17", &["public_blue.users"]);
        assert_eq!(scene.admin().text("SELECT name || n FROM other"), "a1", "{action}");

        scene.owner().run("DROP RULE r ON public_blue.users");
        scene.owner().sync();
        scene.assert_in_step("id, name, email, created_at");
    }
}

#[test]
fn a_target_with_triggers_or_rules_of_its_own_is_refused() {
    for (what, statement) in [
        ("trigger look", "CREATE TRIGGER look AFTER INSERT ON users_new EXECUTE FUNCTION see()"),
        ("rule noted", "CREATE RULE noted AS ON INSERT TO users_new DO ALSO NOTIFY n"),
    ] {
        let scene = with_eye(10);
        scene.table("users_new", "id bigint PRIMARY KEY, name text, email text");
        scene.admin().run(statement);
        let refusal = scene.owner().refused("SELECT bg_prepare('users', target => 'users_new')");
        refusal.assert_is("0A000", &["users_new", what]);
    }
}

/// Row security, triggers and rules of the live table come to blue after the copy.
#[test]
fn what_hangs_on_the_live_table_does_not_slow_the_copy_down_nor_take_part_in_it() {
    let scene = with_eye(3000);
    scene.admin().run(
        "CREATE TRIGGER look AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION see();
         CREATE RULE noted AS ON INSERT TO users DO ALSO INSERT INTO seen VALUES ('rule', NEW.id);
         ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY half ON users USING (id % 2 = 0) WITH CHECK (id % 2 = 0)",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text DEFAULT 'none'");
    assert_eq!(scene.status("copier"), "multi-insert");
    assert_copied(&scene, "", "'none'");
    assert_eq!(scene.admin().int("SELECT count(*) FROM seen"), 0);
}

#[test]
fn the_copier_is_unknown_before_the_copy_and_that_of_the_copy_after_it() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    assert_eq!(scene.status("copier IS NULL"), "t");
    owner.sync();
    assert_eq!(scene.status("copier"), "multi-insert");
    scene.app().run("UPDATE users SET name = 'later'");
    owner.sync();
    assert_eq!(scene.status("copier"), "multi-insert");
}
