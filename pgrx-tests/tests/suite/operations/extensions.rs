//! Other people's extensions beside ours: what they do to a table goes over, or the table is refused by the name of
//! the extension. Those that a server does not have are not tried on it: 17 has all of them.

use bluegreen_tests::cluster::Options;

use crate::story::{Major, Scene, Stage, major, new_cluster, stage};

static STAGE: Stage = stage!({
    // A server without one of them would not start.
    let preloaded = if has_all() { "pg_stat_statements, pglogical" } else { "pg_stat_statements" };
    let options = Options::default().set("shared_preload_libraries", preloaded);
    let options = options.set("pg_stat_statements.track", "all").set("wal_level", "logical");
    // Since 17.12 and 18.6 a server loads no other output plugins than those that are listed.
    let options =
        if has_all() { options.set("output_plugin_libraries", "wal2json") } else { options };
    new_cluster(&options.set("max_replication_slots", "10").set("max_wal_senders", "10"))
});

/// Whether this server was unpacked with the extensions of Debian's suite; on others they may be missing.
fn has_all() -> bool {
    major() == Major::V17
}

/// Creates an extension. On a server that has to have it, it is there.
fn create(scene: &Scene, extension: &str) -> bool {
    let mut admin = scene.admin();
    let there = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{extension}'");
    let is_there = admin.int(&there) == 1;
    assert!(is_there || !has_all(), "{extension} is missing");
    if is_there {
        admin.run(&format!("CREATE EXTENSION {extension} CASCADE"));
    }
    is_there
}

#[test]
fn vectors_and_their_indexes_go_over() {
    let scene = STAGE.users(500);
    if !create(&scene, "vector") {
        return;
    }
    let mut admin = scene.admin();
    admin.run(
        "ALTER TABLE users ADD COLUMN place vector(3);
         UPDATE users SET place = ARRAY[id, id % 7, id % 11]::int[]::vector;
         CREATE INDEX by_graph ON users USING hnsw (place vector_l2_ops);
         CREATE INDEX by_lists ON users USING ivfflat (place vector_cosine_ops) WITH (lists = 5)",
    );
    let mut owner = scene.owner();
    owner.make_ready(
        "ADD COLUMN other vector(2) DEFAULT '[1,2]', ALTER COLUMN place TYPE vector(3)",
    );
    scene.app().run("UPDATE users SET place = '[1000,1,1]' WHERE id = 77");
    owner.run("CALL bg_run('users', 'swapped')");
    let nearest =
        "SET enable_seqscan = off; SELECT id FROM users ORDER BY place <-> '[999,1,1]' LIMIT 1";
    assert_eq!(scene.app().int(nearest), 77);
    let plan = scene.app().list(&format!("SET enable_seqscan = off; EXPLAIN {}", &nearest[26..]));
    assert!(plan.iter().any(|line| line.contains("by_graph")), "{plan:?}");
    let probing = "SET enable_seqscan = off; SET enable_sort = off; SET ivfflat.probes = 5";
    let near = "SELECT FROM users ORDER BY place <=> '[1,1,1]' LIMIT 500";
    let plan = scene.app().list(&format!("{probing}; EXPLAIN {near}"));
    assert!(plan.iter().any(|line| line.contains("by_lists")), "{plan:?}");
    assert_eq!(scene.app().int(&format!("{probing}; SELECT count(*) FROM ({near}) u")), 500);
    owner.run("CALL bg_run('users', 'reverted')");
    assert_eq!(scene.app().int(nearest), 77);
    owner.run("CALL bg_run('users', 'finished')");
}

/// It remembers tables of its replication sets by their OIDs.
#[test]
fn a_table_in_a_replication_set_of_pglogical_is_refused_by_name() {
    let scene = STAGE.users(10);
    if !create(&scene, "pglogical") {
        return;
    }
    let to = scene.cluster.conn_string("postgres", &scene.database);
    let mut admin = scene.admin();
    admin.run(&format!(
        "SELECT pglogical.create_node(node_name := 'here', dsn := '{to}');
         SELECT pglogical.replication_set_add_table('default', 'users')"
    ));
    let mut owner = scene.owner();
    let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    refusal.assert_is("0A000", &["pglogical", "users"]);
    admin.run("SELECT pglogical.replication_set_remove_table('default', 'users')");
    owner.make_ready("ADD COLUMN phone text");
    owner.run("CALL bg_run('users', 'finished')");
}

/// What pg_partman manages are partitioned tables.
#[test]
fn tables_that_pg_partman_manages_are_refused_by_name() {
    let scene = STAGE.empty();
    if !create(&scene, "pg_partman") {
        return;
    }
    let schema = scene
        .admin()
        .text("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_partman'");
    let mut admin = scene.admin();
    admin.run(&format!(
        "CREATE TABLE visits (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
         SELECT {schema}.create_parent('public.visits', 'at', '1 day');
         ALTER TABLE visits OWNER TO owner"
    ));
    let part = admin.text("SELECT inhrelid::regclass FROM pg_inherits LIMIT 1");
    admin.run(&format!("ALTER TABLE {part} OWNER TO owner"));
    let mut owner = scene.owner();
    for table in ["visits", &part] {
        let call = format!("SELECT bg_prepare('{table}', 'ADD COLUMN x int')");
        owner.refused(&call).assert_is("0A000", &[table]);
    }
}

/// An output plugin that knows no publications: with our schemas left out, each change of the application comes once.
#[test]
fn wal2json_shows_the_changes_of_the_application_alone() {
    let scene = STAGE.users(50);
    let mut admin = scene.admin();
    let slot = format!("json_{}", scene.database);
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'wal2json')");
    if !has_all() {
        return;
    }
    admin.run(&create);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut app = scene.app();
    for (until, id) in [("swapped", 1), ("reverted", 2), ("swapped", 3), ("finished", 4)] {
        app.run(&format!("UPDATE users SET name = 'changed' WHERE id = {id}"));
        owner.run(&format!("CALL bg_run('users', '{until}')"));
    }
    app.run("INSERT INTO users (id, name, email) VALUES (1000, 'last', 'last')");
    let changes = format!(
        "SELECT c ->> 'action' || ' ' || (SELECT v ->> 'value' FROM jsonb_array_elements(c -> 'columns') v
                                           WHERE v ->> 'name' = 'id')
           FROM (SELECT data::jsonb AS c FROM pg_logical_slot_get_changes('{slot}', NULL, NULL,
                    'format-version', '2', 'include-transaction', 'off',
                    'filter-tables', 'public_blue.*,bluegreen.*')) x
          WHERE c ->> 'table' = 'users'"
    );
    assert_eq!(admin.list(&changes), ["U 1", "U 2", "U 3", "U 4", "I 1000"]);
    admin.run(&format!("SELECT pg_drop_replication_slot('{slot}')"));
}

#[test]
fn a_deployment_is_right_where_statements_are_counted() {
    let scene = STAGE.users(200);
    assert!(create(&scene, "pg_stat_statements"), "contrib has it");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("UPDATE users SET name = 'changed' WHERE id <= 10");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step("id, name, email, created_at");
    for query in ["CALL bg_run(%", "%bluegreen.deployment%"] {
        let counted = format!(
            "SELECT count(*) > 0 FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
              WHERE query LIKE '{query}' AND datname = current_database()"
        );
        assert_eq!(scene.admin().text(&counted), "t", "{query}");
    }
}

/// pg_repack gives a table new files: a copy that runs begins again, and what is ready stays right.
#[test]
fn pg_repack_beside_a_deployment_costs_no_row() {
    let scene = STAGE.wide_users(300);
    if !create(&scene, "pg_repack") {
        return;
    }
    let file = "SELECT pg_relation_filenode('users')";
    let repack = || {
        let before = scene.admin().int(file);
        let mut repack = scene.cluster.command("pg_repack");
        repack.args(["--dbname", &scene.database, "--table", "public.users", "--no-kill-backend"]);
        let output = repack.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_ne!(scene.admin().int(file), before);
    };
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("SELECT bg_backfill('users', '1 us')");
    assert_eq!(scene.status("phase"), "copying");
    repack();
    owner.sync();
    let again = "SELECT count(*) FROM bg_history() WHERE step = 'copy again'";
    assert_eq!(owner.int(again), 1);
    scene
        .app()
        .run("UPDATE users SET name = 'changed' WHERE id <= 10; DELETE FROM users WHERE id > 290");
    repack();
    scene.app().run("UPDATE users SET name = 'changed again' WHERE id <= 5");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step("id, name, email, created_at");
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE name LIKE 'changed%'"), 10);
    assert_eq!(owner.int("SELECT count(*) FROM users"), 290);
    owner.run("SELECT bg_finish('users')");
}
