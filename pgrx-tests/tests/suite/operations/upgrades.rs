//! A deployment in the middle of which the server or the extension is upgraded.

use std::fs;

use bluegreen_tests::cluster::{Options, Script};
use bluegreen_tests::journal::{self, Errors, Schema, Workload, Writers};
use bluegreen_tests::setup::{self, Tree, Workspace};

use crate::story::course::{revert_under_load, seed};
use crate::story::errand::run_with;
use crate::story::workers::{self, FAST, NONE_LEFT, SLOWLY, until_copied, until_helped};
use crate::story::{Major, Scene, Stage, major, new_cluster, own, stage};

static STAGE: Stage = stage!(new_cluster(&workers::options()));

const COLUMNS: &str = "id, name, email, created_at";
const VERSION: &str = "0.2.0.test";
/// What a later version may do: a column, a function, the trigger functions written anew.
const SCRIPT: &str = "
ALTER TABLE bluegreen.deployment ADD COLUMN added text NOT NULL DEFAULT 'by the upgrade';
CREATE FUNCTION bluegreen.added() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION bluegreen.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'bluegreen_capture';
CREATE OR REPLACE FUNCTION bluegreen.guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'bluegreen_guard';
CREATE OR REPLACE FUNCTION bg_pause(source regclass) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'bg_pause_wrapper';";

const COPIED: &str = "SELECT sum(rows)::int8 FROM bluegreen.piece WHERE kind = 'b'";

/// Upgrades the extension in a phase, under writers.
fn upgrade_in(phase: &str) {
    let scene = workers::large(STAGE.cluster());
    let schema = Schema::users();
    journal::open(&mut scene.admin().client, &schema, "app").unwrap();
    let workload = Workload {
        writers: 3,
        pace: Some(30.0),
        errors: Errors::strict(),
        seed: seed(),
        ..Workload::default()
    };
    println!("{phase}: BLUEGREEN_SEED={}", workload.seed);
    let config = scene.cluster.config("app", &scene.database);
    let writers = Writers::start(&config, &schema, &workload).unwrap();
    let mut owner = scene.owner();
    workers::prepare(&scene, "ADD COLUMN phone text");
    let mut run = None;
    match phase {
        "copying" => {
            let under_way = run_with(&scene, SLOWLY);
            until_helped(&scene, &under_way, 1);
            until_copied(&scene, 1_000);
            run = Some(under_way);
        }
        "ready" => drop(run_with(&scene, FAST).done()),
        _ => owner.run("CALL bg_run('users', 'swapped')"),
    }
    assert_eq!(scene.status("phase"), phase);

    let mut admin = scene.admin();
    admin.run(&format!("ALTER EXTENSION pg_bluegreen UPDATE TO '{VERSION}'"));
    assert_eq!(admin.int("SELECT bluegreen.added()"), 1);
    assert_eq!(admin.text("SELECT added FROM bluegreen.deployment"), "by the upgrade");
    assert_eq!(scene.status("phase"), phase);
    writers.wait_for(30);
    if let Some(run) = run {
        // The same run goes on, and so does another after it.
        let copied = admin.int(COPIED);
        until_copied(&scene, copied + 1_000);
        assert!(!run.is_done(), "the copy was over before the upgrade");
        admin.run(&format!("SELECT pg_terminate_backend({})", run.pid));
        run.refused();
        scene.until(NONE_LEFT);
        run_with(&scene, FAST).done();
    }
    if scene.status("phase") == "ready" {
        owner.run("CALL bg_run('users', 'swapped')");
        writers.wait_for(30);
    }
    revert_under_load(&mut owner);
    writers.wait_for(30);
    owner.run("CALL bg_run('users', 'swapped')");
    writers.pause();
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step(COLUMNS);
    journal::balance(&mut admin.client, &schema).unwrap().check().unwrap();
    writers.go_on();
    owner.run("SELECT bg_finish('users')");
    writers.stop().check().unwrap();
    journal::balance(&mut admin.client, &schema).unwrap().check().unwrap();
    assert_eq!(scene.inventory().with("_blue"), [""; 0]);
}

#[test]
fn a_deployment_in_flight_goes_on_after_an_upgrade_of_the_extension() {
    let _script = Script::to_version(VERSION, SCRIPT).unwrap();
    for phase in ["copying", "ready", "swapped"] {
        upgrade_in(phase);
    }
}

/// pg_upgrade checks columns for types whose values it cannot keep, and restores every object by its
/// number.
#[test]
fn pg_upgrade_takes_a_finished_deployment_and_one_in_flight_along() {
    upgrade_server_from(major(), Tree::Release);
}

/// From the oldest version, and from the newest before the last one, where the extension of this clone is installed in
/// their servers, as `cargo verify` leaves it. Some minor releases of the latter keep a private option of columns, which
/// pg_upgrade restores into no other: there an earlier one is taken.
#[test]
fn pg_upgrade_of_an_older_server_takes_deployments_along() {
    let workspace = Workspace::find().unwrap();
    for (older, tree) in [(Major::V15, Tree::Release), (Major::V17, Tree::Earlier)] {
        if older >= major() {
            continue;
        }
        let place = workspace.with_major(older);
        let script = |place: &Workspace| {
            let name = format!("pg_bluegreen--{}.sql", env!("CARGO_PKG_VERSION"));
            fs::read(place.extensions(Tree::Release).ok()?.join(name)).ok()
        };
        let is_there = script(&place).is_some() && script(&place) == script(&workspace);
        if is_there && (tree == Tree::Release || setup::install_earlier(&place).unwrap()) {
            upgrade_server_from(older, tree);
        } else {
            println!("not from {older}: run cargo setup --pg {older} first");
        }
    }
}

fn upgrade_server_from(older: Major, tree: Tree) {
    let options = Options::default().set("shared_buffers", "64MB");
    let old = own(new_cluster(&options.clone().major(older).tree(tree)));
    let finished = Scene::in_cluster(old);
    finished.add_users(20);
    let mut owner = finished.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    let open = ["ready", "swapped"].map(|phase| {
        let scene = Scene::in_cluster(old);
        scene.add_users(20);
        scene.admin().run(
            "CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner",
        );
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        if phase == "swapped" {
            owner.swap();
        }
        scene.app().run("UPDATE users SET name = 'waits' WHERE id = 1");
        (phase, scene.database.clone())
    });

    let new = own(old.upgraded(&options).unwrap());

    let scene = Scene { cluster: new, database: finished.database.clone() };
    assert_eq!(scene.status("phase"), "finished");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN later int')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.int("SELECT count(*) FROM users"), 20);
    for (phase, database) in open {
        let scene = Scene { cluster: new, database };
        let mut owner = scene.owner();
        assert_eq!(scene.status("phase"), phase);
        let other = if phase == "ready" { "forward" } else { "reverse" };
        let logged = format!("SELECT count(*) FROM bluegreen.{other}_{}", scene.status("id"));
        let waiting = scene.admin().int(&logged);
        scene.app().run("UPDATE users SET name = 'upgraded' WHERE id = 2");
        assert_eq!(scene.admin().int(&logged), waiting + 1, "{phase}: capture went on");
        // The server has made the triggers anew, and nobody knows what was written meanwhile.
        let end = if phase == "ready" { "bg_abort" } else { "bg_finish" };
        let refusal = owner.refused("CALL bg_run('users', 'swapped')");
        refusal.assert_is("55000", &["users", "capture trigger bluegreen_capture was changed"]);
        assert!(refusal.hint.contains(end), "{refusal:?}");
        let step = owner.text("SELECT next_step FROM bg_status()");
        assert!(step.starts_with(&format!("SELECT {end}")), "{step}");
        owner.run(&step);
        assert_eq!(
            owner.text("SELECT string_agg(name, ' ' ORDER BY id) FROM names WHERE id < 3"),
            "waits upgraded"
        );
        assert_eq!(scene.inventory().with("_blue"), [""; 0]);
    }
}
