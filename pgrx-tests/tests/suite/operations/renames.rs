//! Objects that a definition names get other names while a deployment is open: nothing has changed but what is
//! printed, so the deployment goes on. Where a swap makes something again by its text, bg_prepare follows.

use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Jobs that name a type, a function, a sequence, a role, another table and views of their own.
fn scene() -> Scene {
    let scene = STAGE.empty();
    scene.admin().run(&of(
        &scene,
        "CREATE TYPE mood AS ENUM ('new', 'done'); GRANT USAGE ON TYPE mood TO PUBLIC;
         CREATE SEQUENCE numbers; GRANT ALL ON SEQUENCE numbers TO PUBLIC;
         CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
         CREATE TABLE teams (name text PRIMARY KEY); GRANT ALL ON teams TO owner, app;
         CREATE ROLE clerk",
    ));
    scene.table(
        "jobs",
        "id int PRIMARY KEY DEFAULT nextval('numbers'), m mood DEFAULT 'new' CHECK (m <> 'done' OR id > 0),
         team text",
    );
    scene.admin().run(&of(
        &scene,
        "CREATE INDEX jobs_m ON jobs (doubled(id)) WHERE m = 'new';
         CREATE STATISTICS jobs_stats ON (doubled(id)), m FROM jobs;
         ALTER STATISTICS jobs_stats OWNER TO owner;
         CREATE POLICY p ON jobs USING (m = 'new' OR EXISTS (SELECT FROM teams t WHERE t.name = team));
         CREATE VIEW open_jobs AS SELECT j.id, doubled(j.id) AS twice FROM jobs j JOIN teams ON true
             WHERE m = 'new';
         ALTER VIEW open_jobs OWNER TO owner;
         GRANT SELECT ON jobs, open_jobs TO clerk;
         INSERT INTO teams VALUES ('one'); INSERT INTO jobs (team) VALUES ('one'), ('two')",
    ));
    scene
}

/// Roles belong to the server, so that each scene has one of its own.
fn of(scene: &Scene, sql: &str) -> String {
    let database = &scene.database;
    sql.replace("clerk", &format!("clerk_{database}"))
        .replace("scribe", &format!("scribe_{database}"))
}

/// Another name for each of what the table names, and back.
const RENAMES: &[(&str, &str)] = &[
    (
        "ALTER TYPE mood RENAME VALUE 'new' TO 'queued'",
        "ALTER TYPE mood RENAME VALUE 'queued' TO 'new'",
    ),
    ("ALTER TYPE mood RENAME TO state", "ALTER TYPE state RENAME TO mood"),
    ("ALTER FUNCTION doubled RENAME TO twice", "ALTER FUNCTION twice RENAME TO doubled"),
    ("ALTER SEQUENCE numbers RENAME TO ids", "ALTER SEQUENCE ids RENAME TO numbers"),
    (
        "ALTER TABLE teams RENAME COLUMN name TO title",
        "ALTER TABLE teams RENAME COLUMN title TO name",
    ),
    ("ALTER TABLE teams RENAME TO crews", "ALTER TABLE crews RENAME TO teams"),
    ("ALTER ROLE clerk RENAME TO scribe", "ALTER ROLE scribe RENAME TO clerk"),
    (
        "CREATE SCHEMA types; GRANT USAGE ON SCHEMA types TO PUBLIC; ALTER TYPE mood SET SCHEMA types",
        "ALTER TYPE types.mood SET SCHEMA public; DROP SCHEMA types",
    ),
];

#[test]
fn what_a_definition_names_may_be_renamed_in_each_phase_but_the_copy() {
    let scene = scene();
    let renames: Vec<_> = RENAMES.iter().collect();
    rename_all(
        &scene,
        &renames,
        ["CALL bg_run('jobs', 'swapped')", "CALL bg_run('jobs', 'reverted')"],
    );
    assert_eq!(
        scene.admin().int("SELECT count(*) FROM open_jobs"),
        scene.admin().int("SELECT count(*) FROM jobs")
    );
}

/// Right after bg_swap, too, which has no time to look at more than what it has left as it was: no views, no
/// grants.
#[test]
fn what_a_definition_names_may_be_renamed_right_after_a_swap() {
    let scene = scene();
    scene.admin().run("DROP VIEW open_jobs");
    let renames: Vec<_> = RENAMES.iter().filter(|(sql, _)| !sql.contains("clerk")).collect();
    rename_all(&scene, &renames, ["SELECT bg_swap('jobs')", "SELECT bg_revert('jobs')"]);
}

fn rename_all(scene: &Scene, renames: &[&(&str, &str)], [swap, revert]: [&str; 2]) {
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('jobs', 'ADD COLUMN note text')");
    owner.run("CALL bg_run('jobs')");
    for (rename, back) in renames {
        scene.admin().run(&of(scene, rename));
        assert_eq!(owner.text("SELECT last_error FROM bg_status('jobs')"), "", "{rename}");
        scene.app().run("INSERT INTO jobs (team) VALUES ('one')");
        owner.run("CALL bg_run('jobs')");
        owner.run(swap);
        scene.admin().run(&of(scene, back));
        assert_eq!(owner.text("SELECT last_error FROM bg_status('jobs')"), "", "{back}");
        scene.app().run("INSERT INTO jobs (team, note) VALUES ('one', 'new')");
        owner.run("CALL bg_run('jobs')");
        owner.run(revert);
        owner.run("CALL bg_run('jobs')");
        scene.assert_same(
            "SELECT id, m, team FROM jobs",
            "SELECT id, m, team FROM public_blue.jobs",
        );
    }
    let rows = 2 + 2 * renames.len() as i64;
    let found = "SELECT count(*) FROM jobs WHERE m = 'new'";
    assert_eq!(scene.admin().int(found), rows);
    owner.run("SELECT bg_swap('jobs')");
    owner.run("SELECT bg_finish('jobs')");
    assert_eq!(scene.admin().int(found), rows);
}

/// The rename hides nothing: what changed beside it is named, and only that.
#[test]
fn a_change_beside_a_rename_is_still_refused() {
    let scene = scene();
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('jobs', 'ADD COLUMN note text')");
    owner.run("CALL bg_run('jobs')");
    for (change, back, named) in [
        (
            "ALTER TABLE jobs ALTER m SET DEFAULT 'done'",
            "ALTER TABLE jobs ALTER m SET DEFAULT 'queued'",
            "column m was changed",
        ),
        (
            "GRANT DELETE ON jobs TO clerk",
            "REVOKE DELETE ON jobs FROM clerk",
            "grants were changed",
        ),
        (
            "ALTER INDEX jobs_m SET (fillfactor = 50)",
            "ALTER INDEX jobs_m RESET (fillfactor)",
            "index jobs_m was changed",
        ),
        (
            "GRANT UPDATE ON open_jobs TO app",
            "REVOKE UPDATE ON open_jobs FROM app",
            "view public.open_jobs was changed",
        ),
    ] {
        scene.admin().run("ALTER TYPE mood RENAME VALUE 'new' TO 'queued'");
        scene.admin().run(&of(&scene, change));
        let refusal = owner.refused("CALL bg_run('jobs')");
        refusal.assert_is("55000", &[named]);
        assert!(!refusal.message.contains(';'), "{change}: {}", refusal.message);
        scene.admin().run(&of(&scene, back));
        owner.run("CALL bg_run('jobs')");
        scene.admin().run("ALTER TYPE mood RENAME VALUE 'queued' TO 'new'");
        owner.run("CALL bg_run('jobs')");
    }
}

/// A foreign key and a rule are made again in the swap.
#[test]
fn what_a_foreign_key_or_a_rule_names_is_followed_by_bg_prepare() {
    let scene = scene();
    scene.admin().run(
        "DELETE FROM jobs WHERE team = 'two'; ALTER TABLE jobs ADD FOREIGN KEY (team) REFERENCES teams;
         CREATE RULE r AS ON DELETE TO jobs WHERE doubled(old.id) < 0 DO INSTEAD NOTHING",
    );
    let mut owner = scene.owner();
    let prepare = "SELECT bg_prepare('jobs', 'ADD COLUMN note text')";
    owner.run(prepare);
    owner.run("CALL bg_run('jobs')");
    for (rename, named) in [
        ("ALTER TABLE teams RENAME TO crews", "constraint jobs_team_fkey was changed"),
        ("ALTER FUNCTION doubled RENAME TO twice", "rule r was changed"),
    ] {
        scene.admin().run(rename);
        let refusal = owner.refused("SELECT bg_swap('jobs')");
        refusal.assert_is("55000", &[named]);
        assert!(refusal.hint.contains("bg_prepare"), "{refusal:?}");
        owner.run(prepare);
        owner.run("CALL bg_run('jobs')");
    }
    owner.run("CALL bg_run('jobs', 'swapped')");
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'jobs'::regclass AND contype = 'f'";
    assert_eq!(owner.text(key), "FOREIGN KEY (team) REFERENCES crews(name)");
    let rule = owner.text("SELECT definition FROM pg_rules WHERE tablename = 'jobs'");
    assert!(rule.contains("twice(old.id)"), "{rule}");
}

/// The text of a value that is mapped to text is another one then: nothing may go live that has the old.
#[test]
fn where_values_are_mapped_a_rename_is_a_change() {
    let scene = scene();
    scene.admin().run(
        "DROP VIEW open_jobs; DROP POLICY p ON jobs; DROP STATISTICS jobs_stats; DROP INDEX jobs_m",
    );
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('jobs', 'ALTER COLUMN m DROP DEFAULT, DROP CONSTRAINT jobs_check, ALTER COLUMN m TYPE text')",
    );
    owner.run("CALL bg_run('jobs')");
    scene.admin().run("ALTER TYPE mood RENAME VALUE 'new' TO 'queued'");
    let refusal = owner.refused("CALL bg_run('jobs', 'swapped')");
    refusal.assert_is("55000", &["column m was changed"]);
    scene.admin().run("ALTER TYPE mood RENAME VALUE 'queued' TO 'new'");
    owner.run("CALL bg_run('jobs', 'swapped')");
    assert_eq!(scene.admin().int("SELECT count(*) FROM jobs WHERE m = 'new'"), 2);
}
