//! bg_check says where a plain ALTER TABLE would do, with statements that write no row again.

use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

fn scene() -> Scene {
    let scene = STAGE.empty();
    scene.table("parent", "id int PRIMARY KEY");
    scene.table(
        "t",
        "id int PRIMARY KEY, v varchar(10) NOT NULL, w varchar(10), n numeric(6, 2), i int DEFAULT 7,
         unseen varchar(10), limited text CHECK (limited <> 'x'), p int, ident int NOT NULL",
    );
    scene.admin().run(
        "CREATE INDEX ON t (v); CREATE INDEX ON t (n); CREATE INDEX by_i ON t (i);
         CREATE VIEW sees AS SELECT unseen FROM t;
         INSERT INTO parent VALUES (1);
         INSERT INTO t SELECT g, g, g, 1, g, g, g, 1, g FROM generate_series(1, 500) g;
         CREATE FUNCTION state() RETURNS text LANGUAGE sql AS $$
             SELECT string_agg(relname || ' ' || pg_relation_filenode(oid), ', ' ORDER BY relname)
               FROM pg_class WHERE oid = 't'::regclass OR oid IN
                    (SELECT indexrelid FROM pg_index WHERE indrelid = 't'::regclass) $$",
    );
    scene
}

/// What bg_check gives for the changes.
fn hint(scene: &Scene, changes: &str) -> Option<String> {
    let sql = format!("SELECT hint FROM bg_check('t', $c${changes}$c$) WHERE code = 'plain_alter'");
    scene.owner().list(&sql).pop()
}

#[test]
fn the_statements_that_it_gives_write_no_row_again() {
    for changes in [
        "ADD COLUMN a text",
        "ADD COLUMN a int DEFAULT 5 NOT NULL",
        "ADD COLUMN a timestamptz DEFAULT now()",
        "ADD COLUMN IF NOT EXISTS v text",
        "DROP COLUMN w, DROP COLUMN unseen CASCADE",
        "ALTER COLUMN v TYPE varchar(20)",
        "ALTER COLUMN v TYPE text",
        "ALTER COLUMN w TYPE varchar USING w::varchar",
        "ALTER COLUMN n TYPE numeric(9, 2)",
        "ALTER COLUMN n TYPE numeric",
        "ALTER COLUMN i SET DEFAULT 8, ALTER COLUMN v DROP NOT NULL, ALTER COLUMN p SET STATISTICS 500",
        "ALTER COLUMN i DROP DEFAULT, SET (autovacuum_vacuum_threshold = 100)",
        "RENAME COLUMN w TO \"Order\", ALTER COLUMN \"Order\" SET DEFAULT 'x', ADD UNIQUE (\"Order\")",
        "RENAME CONSTRAINT t_pkey TO t_key",
        "ADD CONSTRAINT positive CHECK (i > 0), ADD CHECK (p > 0) NO INHERIT, ADD check (p < 9)",
        "ADD CONSTRAINT later CHECK (a > 0), ADD COLUMN a int DEFAULT 1",
        "ADD CONSTRAINT unseen_rows CHECK (i > 100) NOT VALID",
        "ALTER COLUMN i SET NOT NULL, ALTER COLUMN v SET NOT NULL",
        "ADD CONSTRAINT i_key UNIQUE (i) INCLUDE (p) DEFERRABLE",
        "ADD FOREIGN KEY (p) REFERENCES parent, ADD CONSTRAINT again FOREIGN KEY (p) REFERENCES parent ON DELETE CASCADE",
        "ALTER COLUMN ident ADD GENERATED ALWAYS AS IDENTITY",
    ] {
        let scene = scene();
        let hint = hint(&scene, changes).unwrap_or_else(|| panic!("{changes}: nothing is said"));
        // An owner without CREATE on the schema could not make an index.
        let mut owner = scene.admin();
        let before = owner.text("SELECT state()");
        let statements: Vec<_> = hint.split(";\n").collect();
        assert!(statements[0].starts_with("SET lock_timeout"), "{hint}");

        for statement in statements {
            owner.run(statement);
        }

        let after = owner.text("SELECT state()");
        let of_table =
            |state: &str| state.split(", ").find(|file| file.starts_with("t ")).map(str::to_owned);
        assert_eq!(of_table(&before), of_table(&after), "{changes}: {hint}");
        // No index was built again under a lock: new files belong to new names.
        for file in after.split(", ").filter(|file| !before.contains(*file)) {
            let name = file.split(' ').next().unwrap();
            let is_new = !before.contains(&format!("{name} "));
            assert!(is_new || changes.contains("RENAME CONSTRAINT"), "{changes}: {file}: {hint}");
        }
        let open = "SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND NOT convalidated";
        let expected = i64::from(changes.contains("NOT VALID"));
        assert_eq!(owner.int(open), expected, "{changes}: {hint}");
        // The same again finds that it is done, or says no to it.
        assert_eq!(owner.int("SELECT count(*) FROM t"), 500);
    }
}

#[test]
fn where_rows_are_written_or_something_is_in_the_way_it_says_nothing() {
    for changes in [
        "",
        "ADD COLUMN a float DEFAULT random()",
        "ADD COLUMN a serial",
        "ADD COLUMN a int GENERATED ALWAYS AS IDENTITY",
        "ADD COLUMN a int GENERATED ALWAYS AS (i + 1) STORED",
        "ADD COLUMN a int CHECK (a > 0)",
        "ADD COLUMN a int DEFAULT 1, ADD COLUMN b int UNIQUE",
        "ALTER COLUMN i TYPE bigint",
        "ALTER COLUMN n TYPE numeric(9, 3)",
        "ALTER COLUMN p TYPE text USING p + 1",
        "ALTER COLUMN v TYPE text COLLATE \"C\"",
        "ADD COLUMN a text, ALTER COLUMN i TYPE bigint",
        // A view depends on it, and a CHECK would be looked at again.
        "ALTER COLUMN unseen TYPE text",
        "ALTER COLUMN limited TYPE varchar",
        "ALTER COLUMN w SET STORAGE EXTERNAL",
        "SET (fillfactor = 50)",
        "ADD EXCLUDE USING btree (i WITH =)",
        // One after the other there would be no key for a while, or one would come before what it needs.
        "DROP CONSTRAINT t_pkey, ADD UNIQUE (id), ADD PRIMARY KEY (i)",
        "ALTER COLUMN i SET NOT NULL, ALTER COLUMN i ADD GENERATED ALWAYS AS IDENTITY",
        "ADD UNIQUE (i), ADD FOREIGN KEY (p) REFERENCES t (i)",
    ] {
        let found = hint(&scene(), changes);
        assert_eq!(found, None, "{changes}");
    }
    // Somebody who gives expressions means the rows.
    let scene = scene();
    let sql = r#"SELECT count(*) FROM bg_check('t', 'ADD COLUMN a text', forward => '{"a": "v"}')
                  WHERE code = 'plain_alter'"#;
    assert_eq!(scene.owner().int(sql), 0);
}
