//! `bg_revert(misfits => 'set_aside')`: what it does to the rows that do not fit, and to those of others
//! that refer to them.

use bluegreen_tests::cluster::Options;

use crate::story::{Person, Scene, Stage, new_cluster, stage};

static STAGE: Stage = stage!(new_cluster(&Options::default().set("wal_level", "logical")));

const ASIDE: &str = "SELECT bg_revert('boxes', misfits => 'set_aside')";
const WITH_CHILDREN: &str = "SELECT bg_revert('boxes', misfits => 'set_aside_with_children')";
const TOO_BIG: &str = "3000000000";

/// Boxes 1 and 2; `more` are columns.
fn boxes(more: &str) -> Scene {
    let scene = STAGE.empty();
    scene.table("boxes", &format!("id int PRIMARY KEY, size int{more}"));
    scene.admin().run("INSERT INTO boxes VALUES (1, 1), (2, 2)");
    scene
}

/// A table that refers to boxes.
fn items(scene: &Scene, name: &str, on_delete: &str) {
    scene.table(
        name,
        &format!(
            "id int PRIMARY KEY, box int DEFAULT 1 REFERENCES boxes ON UPDATE CASCADE {on_delete}"
        ),
    );
    scene.admin().run(&format!("INSERT INTO {name} VALUES (10, 1), (20, 2)"));
}

/// The boxes with a wider size are live, in which a larger one fits.
fn swapped(scene: &Scene, more: &str) -> Person {
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('boxes', 'ALTER COLUMN size TYPE bigint{more}')"));
    owner.run("CALL bg_run('boxes', 'swapped')");
    owner
}

fn rows(scene: &Scene, table: &str) -> String {
    scene.admin().text(&format!(
        "SELECT coalesce(string_agg(t::text, ' ' ORDER BY t::text), '-') FROM {table} t"
    ))
}

/// Both tables have the same rows, and every foreign key holds.
fn assert_settled(scene: &Scene, call: &str) {
    scene.owner().run(call);
    let found = scene.admin().list("SELECT key::text || problem FROM bg_verify('boxes')");
    assert!(found.is_empty(), "{found:?}");
    let invalid = "SELECT conname FROM pg_constraint WHERE NOT convalidated";
    assert_eq!(scene.admin().list(invalid), [""; 0]);
}

#[test]
fn no_row_of_others_is_touched_when_a_row_goes_back_to_its_earlier_state() {
    let scene = boxes("");
    let actions = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"];
    for action in actions {
        let name = format!("of_{}", action.to_lowercase().replace(' ', "_"));
        items(&scene, &name, &format!("ON DELETE {action}"));
    }
    scene.admin().run(
        "CREATE TABLE trail (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN INSERT INTO public.trail VALUES (TG_WHEN || TG_OP || TG_TABLE_NAME); RETURN coalesce(NEW, OLD); END $$;
         CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON boxes FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON boxes FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER once AFTER DELETE ON boxes EXECUTE FUNCTION note();
         CREATE TRIGGER before BEFORE UPDATE OR DELETE ON of_cascade FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!("UPDATE boxes SET size = {TOO_BIG} WHERE id = 2"));
    scene.admin().run("TRUNCATE trail");

    owner.run(ASIDE);

    assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2)");
    for action in actions {
        let name = format!("of_{}", action.to_lowercase().replace(' ', "_"));
        assert_eq!(rows(&scene, &name), "(10,1) (20,2)", "{action}");
    }
    assert_eq!(rows(&scene, "trail"), "-");
    let aside = r#"SELECT key::text || ("row"->>'size') || set_aside FROM bg_misfits()"#;
    assert_eq!(owner.list(aside), [format!("{{\"id\": 2}}{TOO_BIG}true")]);
    assert_settled(&scene, "CALL bg_run('boxes')");
    assert_eq!(rows(&scene, "trail"), "-");
    scene
        .app()
        .run("DELETE FROM of_restrict; DELETE FROM of_no_action; DELETE FROM boxes WHERE id = 2");
    assert_eq!(rows(&scene, "of_cascade"), "(10,1)", "the foreign keys are those of before");
}

#[test]
fn subscribers_see_no_deletion() {
    let scene = boxes("");
    items(&scene, "items", "ON DELETE CASCADE");
    let mut admin = scene.admin();
    admin.run("CREATE PUBLICATION p FOR TABLE boxes, items");
    for (name, plugin) in [("text", "test_decoding"), ("sent", "pgoutput")] {
        admin.run(&format!(
            "SELECT pg_create_logical_replication_slot(current_database() || '{name}', '{plugin}')"
        ));
    }
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        "UPDATE boxes SET size = {TOO_BIG} WHERE id = 2; INSERT INTO boxes VALUES (3, {TOO_BIG})"
    ));

    owner.run(ASIDE);

    let decoded = scene.admin().list(
        "SELECT data FROM pg_logical_slot_peek_changes(current_database() || 'text', NULL, NULL)
         WHERE data ~ '^table public.(boxes|items):' AND data !~ 'INSERT|UPDATE'",
    );
    let sent = scene.admin().list(
        "SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_peek_binary_changes(
             current_database() || 'sent', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')",
    );
    scene.admin().run(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()",
    );
    assert_eq!(decoded, [""; 0]);
    assert!(sent.contains(&"U".to_owned()), "the slot sees what is published: {sent:?}");
    assert!(!sent.contains(&"D".to_owned()), "{sent:?}");
    assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2)");
}

#[test]
fn columns_that_only_the_new_table_has_keep_their_values_of_a_row_that_goes_back() {
    let scene = boxes("");
    let mut owner = swapped(&scene, ", ADD COLUMN colour text");
    scene.app().run(&format!(
        "UPDATE boxes SET colour = 'red'; UPDATE boxes SET size = {TOO_BIG} WHERE id = 2;
         INSERT INTO boxes VALUES (3, {TOO_BIG}, 'blue'), (4, 4, 'green')"
    ));
    owner.run(ASIDE);
    assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2) (4,4)");
    assert_settled(&scene, "CALL bg_run('boxes')");

    scene.app().run("UPDATE boxes SET size = 22 WHERE id = 2");
    owner.run("CALL bg_run('boxes', 'swapped')");

    assert_eq!(rows(&scene, "boxes"), "(1,1,red) (2,22,red) (4,4,green)");
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");
    owner.run("SELECT bg_finish('boxes')");
    assert_eq!(rows(&scene, "boxes"), "(1,1,red) (2,22,red) (4,4,green)");
    let aside = r#"SELECT "row"->>'id' || ("row"->>'colour') FROM bluegreen.misfit ORDER BY 1"#;
    assert_eq!(scene.admin().list(aside), ["2red", "3blue"]);
}

#[test]
fn a_row_that_others_refer_to_and_no_table_would_have_stops_the_revert() {
    for action in ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"] {
        let scene = boxes("");
        items(&scene, "items", &format!("ON DELETE {action}"));
        let mut owner = swapped(&scene, "");
        scene.app().run(&format!(
            "UPDATE boxes SET size = {TOO_BIG} WHERE id = 2; INSERT INTO boxes VALUES (3, {TOO_BIG});
             INSERT INTO items VALUES (30, 3), (31, 3), (32, NULL)"
        ));

        let refusal = owner.refused(ASIDE);

        refusal.assert_is(
            "55000",
            &["2 rows", "public.boxes", "public.items", "items_box_fkey", "(box)=(3)"],
        );
        assert!(refusal.hint.contains("set_aside_with_children"), "{refusal:?}");
        assert_eq!(scene.admin().text("SELECT phase FROM bg_status('boxes')"), "swapped");
        assert_eq!(rows(&scene, "boxes"), format!("(1,1) (2,{TOO_BIG}) (3,{TOO_BIG})"));
        assert_eq!(rows(&scene, "items"), "(10,1) (20,2) (30,3) (31,3) (32,)", "{action}");
        assert_eq!(owner.int("SELECT count(*) FROM bg_misfits() WHERE set_aside"), 0);

        owner.run(WITH_CHILDREN);

        let told = owner.notices();
        assert!(told.iter().any(|n| n.message.contains("public.items")), "{told:?}");
        assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2)");
        let left = match action {
            "SET NULL" => "(10,1) (20,2) (30,) (31,) (32,)",
            "SET DEFAULT" => "(10,1) (20,2) (30,1) (31,1) (32,)",
            _ => "(10,1) (20,2) (32,)",
        };
        assert_eq!(rows(&scene, "items"), left, "{action}");
        let kept = r#"SELECT child || ("row"->>'id') || (key->>'box') || sqlstate FROM bg_misfits()
            WHERE set_aside AND child IS NOT NULL ORDER BY 1"#;
        assert_eq!(owner.list(kept), ["public.items30323503", "public.items31323503"]);
        assert_settled(&scene, "CALL bg_run('boxes')");
        owner.run("CALL bg_run('boxes', 'finished')");
        assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2)");
        assert_eq!(rows(&scene, "items"), left, "{action}");
    }
}

#[test]
fn what_refers_to_rows_that_are_set_aside_is_set_aside_in_turn_and_nothing_is_lost() {
    let scene = boxes("");
    items(&scene, "items", "ON DELETE CASCADE");
    scene.table(
        "notes",
        "id int PRIMARY KEY, item int REFERENCES items, answer_to int REFERENCES notes",
    );
    scene.table("marks", "note int REFERENCES notes ON DELETE SET NULL, item int REFERENCES items ON DELETE CASCADE, mark text");
    scene.table(
        "stamps",
        "note int REFERENCES notes ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, stamp text",
    );
    scene.admin().run(
        "CREATE TABLE trail (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO trail VALUES (current_user || TG_OP || OLD.id); RETURN OLD; END $$;
         GRANT INSERT ON trail TO owner;
         CREATE TRIGGER note AFTER DELETE ON notes FOR EACH ROW EXECUTE FUNCTION note();
         ALTER FUNCTION note() OWNER TO owner",
    );
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        "INSERT INTO boxes VALUES (3, {TOO_BIG}); INSERT INTO items VALUES (30, 3);
         INSERT INTO notes VALUES (300, 30, NULL), (301, NULL, 300), (302, 20, NULL);
         INSERT INTO marks VALUES (300, NULL, 'a'), (301, 30, 'b'), (302, 20, 'c');
         INSERT INTO stamps VALUES (301, 'x'), (302, 'y')"
    ));

    owner.run(WITH_CHILDREN);

    assert_eq!(rows(&scene, "boxes"), "(1,1) (2,2)");
    assert_eq!(rows(&scene, "items"), "(10,1) (20,2)");
    assert_eq!(rows(&scene, "notes"), "(302,20,)");
    assert_eq!(rows(&scene, "marks"), "(,,a) (302,20,c)");
    assert_eq!(rows(&scene, "stamps"), "(302,y)");
    assert_eq!(rows(&scene, "trail"), "(ownerDELETE300) (ownerDELETE301)");
    let kept = r#"SELECT child || ' ' || (("row" - 'id')::text) FROM bg_misfits() WHERE child IS NOT NULL ORDER BY 1"#;
    assert_eq!(
        owner.list(kept),
        [
            r#"public.items {"box": 3}"#,
            r#"public.marks {"item": 30, "mark": "b", "note": 301}"#,
            r#"public.marks {"item": null, "mark": "a", "note": 300}"#,
            r#"public.notes {"item": 30, "answer_to": null}"#,
            r#"public.notes {"item": null, "answer_to": 300}"#,
            r#"public.stamps {"note": 301, "stamp": "x"}"#,
        ]
    );
    assert_settled(&scene, "CALL bg_run('boxes')");
}

/// json takes more texts than jsonb.
#[test]
fn a_child_that_jsonb_cannot_hold_is_set_aside_as_text() {
    let scene = boxes("");
    scene.table(
        "papers",
        "id int PRIMARY KEY, box int REFERENCES boxes ON DELETE CASCADE, raw json",
    );
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        r#"INSERT INTO boxes VALUES (3, {TOO_BIG}); INSERT INTO papers VALUES (1, 3, '{{"a": "\u0000"}}')"#
    ));

    owner.run(WITH_CHILDREN);

    assert_eq!(rows(&scene, "papers"), "-");
    let kept =
        r#"SELECT key::text || ' ' || ("row" #>> '{}') FROM bg_misfits() WHERE child IS NOT NULL"#;
    assert_eq!(owner.list(kept), [r#"{"box": 3} (1,3,"{""a"": ""\\u0000""}")"#]);
    assert_settled(&scene, "CALL bg_run('boxes')");
}

#[test]
fn a_table_that_refers_to_itself_is_its_own_child() {
    let scene = boxes(", within int REFERENCES boxes");
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        "INSERT INTO boxes VALUES (3, {TOO_BIG}, 1); INSERT INTO boxes VALUES (4, 4, 3), (5, 5, 4);
         UPDATE boxes SET size = {TOO_BIG} WHERE id = 1; UPDATE boxes SET within = 1 WHERE id = 2"
    ));

    let refusal = owner.refused(ASIDE);

    refusal.assert_is("55000", &["1 row ", "boxes_within_fkey", "(within)=(3)"]);
    owner.run(WITH_CHILDREN);
    assert_eq!(rows(&scene, "boxes"), "(1,1,) (2,2,1)");
    let kept =
        r#"SELECT child || ("row"->>'id') FROM bg_misfits() WHERE child IS NOT NULL ORDER BY 1"#;
    assert_eq!(owner.list(kept), ["public.boxes4", "public.boxes5"]);
    assert_settled(&scene, "CALL bg_run('boxes')");
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(rows(&scene, "boxes"), "(1,1,) (2,2,1)");
    owner.run("SELECT bg_finish('boxes')");
}

#[test]
fn an_earlier_state_whose_own_parent_is_gone_stops_the_revert() {
    let scene = boxes("");
    scene.table("rooms", "id int PRIMARY KEY");
    scene.admin().run(
        "INSERT INTO rooms VALUES (1), (2);
         ALTER TABLE boxes ADD COLUMN room int DEFAULT 1 REFERENCES rooms",
    );
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        "UPDATE boxes SET room = 2 WHERE id = 1; UPDATE boxes SET room = 2, size = {TOO_BIG} WHERE id = 2;
         DELETE FROM rooms WHERE id = 1"
    ));

    let refusal = owner.refused(ASIDE);

    refusal.assert_is("55000", &["boxes_room_fkey", "(room)=(1)"]);
    owner.run(WITH_CHILDREN);
    assert_eq!(rows(&scene, "boxes"), "(1,1,2)");
    let kept =
        r#"SELECT coalesce(child, 'misfit') || ("row"->>'room') FROM bg_misfits() ORDER BY 1"#;
    assert_eq!(owner.list(kept), ["misfit2", "public.boxes1"]);
    assert_settled(&scene, "CALL bg_run('boxes')");
}

#[test]
fn children_of_another_owner_need_its_consent() {
    let scene = boxes("");
    items(&scene, "items", "ON DELETE NO ACTION");
    scene.admin().run("ALTER TABLE items OWNER TO other_owner");
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!("INSERT INTO boxes VALUES (3, {TOO_BIG})"));
    scene.admin().run("INSERT INTO items VALUES (30, 3)");

    let refusal = owner.refused(WITH_CHILDREN);

    refusal.assert_is("42501", &["public.items"]);
    assert_eq!(rows(&scene, "items"), "(10,1) (20,2) (30,3)");
    scene.admin().run("GRANT DELETE ON items TO owner");
    owner.run(WITH_CHILDREN);
    assert_eq!(rows(&scene, "items"), "(10,1) (20,2)");
    assert_settled(&scene, "CALL bg_run('boxes')");
}

#[test]
fn a_trigger_that_keeps_a_child_stops_the_revert() {
    let scene = boxes("");
    items(&scene, "items", "ON DELETE CASCADE");
    scene.admin().run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER keep BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let mut owner = swapped(&scene, "");
    scene
        .app()
        .run(&format!("INSERT INTO boxes VALUES (3, {TOO_BIG}); INSERT INTO items VALUES (30, 3)"));

    owner.refused(WITH_CHILDREN).assert_is("55000", &["public.items"]);

    assert_eq!(rows(&scene, "boxes"), format!("(1,1) (2,2) (3,{TOO_BIG})"));
    assert_eq!(rows(&scene, "items"), "(10,1) (20,2) (30,3)");
    assert_eq!(owner.int("SELECT count(*) FROM bg_misfits() WHERE set_aside"), 0);
}

/// Its earlier state stays where it was until it fits.
#[test]
fn a_misfit_whose_key_has_changed_goes_back_to_its_earlier_state_and_key() {
    let scene = boxes(", note text");
    scene.admin().run("UPDATE boxes SET note = 'note ' || id");
    let mut owner = swapped(&scene, ", DROP COLUMN note, ADD COLUMN colour text");
    let mut app = scene.app();
    app.run(&format!(
        "UPDATE boxes SET id = 20, size = {TOO_BIG}, colour = 'red' WHERE id = 2;
         UPDATE boxes SET id = 10 WHERE id = 1"
    ));
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(rows(&scene, "public_blue.boxes"), r#"(10,1,"note 1") (2,2,"note 2")"#);
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");
    // Once more, and on to another key.
    app.run("UPDATE boxes SET id = 21 WHERE id = 20");
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");

    owner.run(ASIDE);

    assert_eq!(rows(&scene, "boxes"), r#"(10,1,"note 1") (2,2,"note 2")"#);
    let aside = r#"SELECT key::text || ("row"->>'size') FROM bg_misfits() WHERE set_aside"#;
    assert_eq!(owner.list(aside), [format!("{{\"id\": 21}}{TOO_BIG}")]);
    assert_settled(&scene, "CALL bg_run('boxes')");
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(rows(&scene, "boxes"), "(10,1,) (2,2,red)");
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");
    owner.run("SELECT bg_finish('boxes')");
    assert_eq!(rows(&scene, "boxes"), "(10,1,) (2,2,red)");
}

#[test]
fn a_misfit_whose_key_has_changed_goes_on_when_it_fits_or_ends() {
    let scene = boxes(", note text");
    scene.admin().run(
        "INSERT INTO boxes VALUES (3, 3), (4, 4), (5, 5); UPDATE boxes SET note = 'note ' || id",
    );
    let mut owner = swapped(&scene, ", DROP COLUMN note");
    let mut app = scene.app();
    app.run(&format!("UPDATE boxes SET id = id * 10, size = {TOO_BIG} WHERE id > 1"));
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(scene.admin().int("SELECT misfits FROM bg_status('boxes')"), 4);

    // One fits, one goes, one has its former key taken by another row, one comes back.
    app.run(
        "UPDATE boxes SET size = 22 WHERE id = 20; DELETE FROM boxes WHERE id = 30;
         INSERT INTO boxes VALUES (4, 44); UPDATE boxes SET id = 5 WHERE id = 50",
    );
    owner.run("CALL bg_run('boxes', 'swapped')");

    let blue = r#"(1,1,"note 1") (20,22,"note 2") (4,44,) (5,5,"note 5")"#;
    assert_eq!(rows(&scene, "public_blue.boxes"), blue);
    assert_eq!(scene.admin().int("SELECT misfits FROM bg_status('boxes')"), 2);
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");
    owner.run(ASIDE);
    assert_eq!(rows(&scene, "boxes"), blue);
    assert_settled(&scene, "CALL bg_run('boxes')");
    owner.run("CALL bg_run('boxes', 'finished')");
    assert_eq!(rows(&scene, "boxes"), "(1,1) (20,22) (4,44) (5,5)");
}

#[test]
fn a_row_that_moved_and_collides_stays_under_its_key_until_it_does_not() {
    let scene = boxes(", code text");
    scene.admin().run("UPDATE boxes SET code = 'c' || id; ALTER TABLE boxes ADD UNIQUE (code)");
    let mut owner = swapped(&scene, ", DROP CONSTRAINT boxes_code_key");
    let mut app = scene.app();
    app.run("UPDATE boxes SET id = 20, code = 'c1' WHERE id = 2");
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(rows(&scene, "public_blue.boxes"), "(1,1,c1) (2,2,c2)");
    assert_settled(&scene, "CALL bg_run('boxes', 'swapped')");

    app.run("DELETE FROM boxes WHERE id = 1");
    owner.run("CALL bg_run('boxes', 'swapped')");

    assert_eq!(rows(&scene, "public_blue.boxes"), "(20,2,c1)");
    assert_eq!(scene.admin().int("SELECT misfits FROM bg_status('boxes')"), 0);
    app.run("INSERT INTO boxes VALUES (1, 1, 'c1'); UPDATE boxes SET id = 30 WHERE id = 20");
    owner.run("CALL bg_run('boxes', 'swapped')");
    owner.run(ASIDE);
    assert_eq!(scene.admin().int("SELECT count(*) FROM boxes"), 1);
    assert_eq!(scene.admin().int("SELECT count(*) FROM bg_misfits() WHERE set_aside"), 1);
    assert_settled(&scene, "CALL bg_run('boxes')");
}

/// A chain of keys: each row takes the key of the next.
#[test]
fn rows_that_take_each_others_keys_are_all_accounted_for() {
    let scene = boxes("");
    scene.admin().run("INSERT INTO boxes SELECT n, n FROM generate_series(3, 2000) n");
    let mut owner = swapped(&scene, "");
    scene.app().run(&format!(
        "UPDATE boxes SET size = {TOO_BIG} WHERE id = 2000;
         DO $$ BEGIN FOR n IN REVERSE 2000..1 LOOP UPDATE boxes SET id = n + 1 WHERE id = n; END LOOP; END $$"
    ));
    owner.run("CALL bg_run('boxes', 'swapped')");
    assert_eq!(scene.admin().int("SELECT misfits FROM bg_status('boxes')"), 1);
    let shifted = "SELECT count(*) FROM public_blue.boxes WHERE size = id - 1";
    assert_eq!(scene.admin().int(shifted), 1999);

    owner.run(ASIDE);

    assert_eq!(scene.admin().int("SELECT count(*) FROM boxes WHERE size = id - 1"), 1999);
    assert_eq!(scene.admin().int("SELECT count(*) FROM boxes"), 1999);
    assert_eq!(owner.int("SELECT count(*) FROM bg_misfits() WHERE set_aside"), 1);
    assert_settled(&scene, "CALL bg_run('boxes')");
}
