//! Isolation specs, played by the server's own isolationtester: `isolation/NAME.spec` has to print
//! `isolation/NAME.out`, apart from who waited how long. With BLUEGREEN_ACCEPT=1 what is printed becomes what is expected.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use bluegreen_tests::cluster::{Options, SUPERUSER};

use crate::story::{Scene, Stage, failpoints, stage};

static STAGE: Stage = stage!({
    let options = Options::default().set("max_prepared_transactions", "10");
    failpoints::cluster(options)
});

/// Specs that are played at the same time; each has a database of its own.
const AT_ONCE: usize = 3;
const TESTER: &str = "pgxs/src/test/isolation/isolationtester";

fn scene() -> Scene {
    let scene = STAGE.empty();
    failpoints::assert_there(&scene);
    // Notices tell how long something took.
    let database = &scene.database;
    scene.admin().run(&format!("ALTER DATABASE {database} SET client_min_messages = 'error'"));
    scene
}

/// What the tester prints.
fn play(scene: &Scene, spec: &Path) -> String {
    let cluster = scene.cluster;
    let ask = |what: &str| {
        let output = cluster.command("pg_config").arg(what).output().expect("pg_config");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    };
    let library = ask("--pkglibdir");
    let connection = format!("dbname={} user={SUPERUSER}", scene.database);
    let output = cluster
        .command(library.join(TESTER).to_str().unwrap())
        .arg(connection)
        // The path that is built into it leads to libpq from where programs usually are.
        .env("LD_LIBRARY_PATH", ask("--libdir"))
        .stdin(Stdio::from(fs::File::open(spec).unwrap()))
        .output()
        .expect("isolationtester");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    without_pids(&in_order(&(String::from_utf8(output.stdout).unwrap() + &error)))
}

/// What a step gave, below the step: whether somebody had to wait for a try of the swap, and when that
/// was seen, is another in every run.
fn in_order(printed: &str) -> String {
    const WAITING: &str = " <waiting ...>";
    let (mut blocks, mut waiting, mut current) = (vec![String::new()], HashMap::new(), 0);
    for line in printed.lines() {
        let step = line.strip_prefix("step ").and_then(|rest| rest.split_once(": "));
        if let Some((name, "<... completed>")) = step
            && let Some(block) = waiting.remove(name)
        {
            current = block;
            continue;
        }
        if line.starts_with("starting permutation") || step.is_some() {
            blocks.push(String::new());
            current = blocks.len() - 1;
        }
        if let Some((name, _)) = step.filter(|_| line.ends_with(WAITING)) {
            waiting.insert(name, current);
        }
        blocks[current] += &format!("{}\n", line.trim_end_matches(WAITING));
    }
    assert!(waiting.is_empty(), "these never ended: {waiting:?}");
    blocks.concat()
}

/// Every run has other process ids.
fn without_pids(text: &str) -> String {
    let mut parts = text.split("pid ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        text + "pid " + if rest.len() < part.len() { "N" } else { "" } + rest
    })
}

fn specs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("isolation");
    let mut all: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "spec"));
    all.sort();
    assert!(all.len() >= 10, "{all:?}");
    all
}

/// Those that need snapshots without an older transaction elsewhere: a swap waits for others as for one that
/// is older than the last large sync.
fn is_alone(spec: &Path) -> bool {
    spec.file_name().is_some_and(|name| name.to_string_lossy().starts_with("swapped_"))
}

/// What it prints, if that is not what is expected.
fn play_one(spec: &Path) -> Option<String> {
    let (printed, expected) = (play(&scene(), spec), spec.with_extension("out"));
    if std::env::var_os("BLUEGREEN_ACCEPT").is_some() {
        fs::write(&expected, &printed).unwrap();
    }
    let same = fs::read_to_string(&expected).unwrap_or_default() == printed;
    (!same).then(|| format!("{}:\n{printed}", spec.display()))
}

#[test]
fn every_race_ends_as_its_spec_expects() {
    let (alone, specs): (Vec<_>, Vec<_>) = specs().into_iter().partition(|spec| is_alone(spec));
    let next = AtomicUsize::new(0);
    let play_all = || {
        let mut wrong = Vec::new();
        while let Some(spec) = specs.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(play_one(spec));
        }
        wrong
    };
    let mut wrong: Vec<_> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(play_all)).collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    });
    wrong.extend(alone.iter().filter_map(|spec| play_one(spec)));
    assert!(wrong.is_empty(), "printed otherwise than expected:\n{}", wrong.join("\n"));
}
