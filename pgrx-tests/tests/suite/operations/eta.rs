//! How far a deployment is and when it is ready, as `bg_status` and `bg_progress` foretell it, and the
//! measurement behind it, of which nothing may stay.

use crate::story::errand::run_with;
use crate::story::throttled::{BLOCKS, SLOWLY, prepare};
use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

const ASK: &str = "SELECT phase, progress::text, coalesce(extract(epoch FROM eta), -1)::text FROM bg_status('users')";

/// An answer of `bg_status`.
#[derive(Debug, Clone)]
struct Answer {
    phase: String,
    progress: f64,
    /// Seconds; NULL is nothing.
    eta: Option<f64>,
}

fn ask(person: &mut Person) -> Answer {
    let row = person.rows(ASK).remove(0);
    let value = |column: usize| row[column].clone().unwrap();
    let number = |column: usize| value(column).parse::<f64>().unwrap();
    Answer { phase: value(0), progress: number(1), eta: Some(number(2)).filter(|eta| *eta >= 0.0) }
}

/// All answers of somebody who asks until a run is over.
fn answers(scene: &Scene, run: &Errand) -> Vec<Answer> {
    let mut owner = scene.owner();
    let mut answers = Vec::new();
    while !run.is_done() {
        answers.push(ask(&mut owner));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    answers
}

/// It begins at 0, is 1 only at the end, and goes back by little.
#[track_caller]
fn assert_progress(answers: &[Answer]) {
    let mut most = 0.0_f64;
    for answer in answers {
        let Answer { phase, progress, eta } = answer;
        let is_over = matches!(phase.as_str(), "ready" | "swapped" | "finished");
        assert_eq!(*progress >= 1.0, is_over, "{answer:?}");
        assert!(*progress >= most - 0.15, "{answer:?} after {most}");
        assert!(eta.is_none_or(|eta| eta > 0.0), "{answer:?}");
        assert!(!is_over || eta.is_none(), "{answer:?}");
        most = most.max(*progress);
    }
}

/// What the history says of the measurement.
fn measured(scene: &Scene) -> Vec<String> {
    scene.owner().list("SELECT detail FROM bg_history() WHERE step = 'sample'")
}

/// Batch by batch, so that each state is seen. So few rows are not measured: the end is not known before the
/// first index tells of the others.
#[test]
fn progress_goes_forward_and_the_end_comes_nearer_in_each_phase() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    scene.admin().run(
        "CREATE INDEX ON users (created_at, name); CREATE INDEX ON users (lower(email));
         CREATE INDEX ON users (md5(name))",
    );
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("SET bluegreen.batch_time = '1ms'");
    let mut answers = vec![ask(&mut owner)];
    while answers.last().unwrap().phase != "ready" {
        owner.run("SELECT bg_backfill('users', '0')");
        answers.push(ask(&mut owner));
    }
    owner.swap();
    answers.push(ask(&mut owner));

    assert_progress(&answers);
    assert_eq!((answers[0].progress, answers[0].eta), (0.0, None));
    let copying = answers.iter().filter(|a| a.phase == "copying");
    assert!(
        copying.clone().count() > 2 && copying.clone().all(|a| a.eta.is_none()),
        "{answers:#?}"
    );
    let ends: Vec<_> =
        answers.iter().filter(|a| a.phase == "indexing").filter_map(|a| a.eta).collect();
    assert!(ends.len() >= 5, "{answers:#?}");
    assert!(ends.windows(2).all(|two| two[1] < two[0] * 1.5), "{ends:?}");
    assert!(ends.last() < ends.first(), "{ends:?}");
    assert!(measured(&scene).is_empty());
}

/// A copy that takes long is measured in its beginning, as the owner, and nothing of it stays.
#[test]
fn a_long_copy_foretells_its_indexes_and_leaves_nothing_behind() {
    let scene = STAGE.wide_users(BLOCKS);
    // As whom it is called is told by an error.
    scene.admin().run(
        "CREATE FUNCTION careful(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_user <> 'owner' THEN
                 RAISE 'called as %', current_user;
             END IF;
             RETURN upper(name);
         END $$;
         CREATE INDEX ON users (public.careful(name))",
    );
    prepare(&scene);
    let left = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'
                     OR relname LIKE 'bluegreen_sample%' OR relnamespace::regnamespace::text LIKE 'pg_temp%'";
    let run = run_with(&scene, SLOWLY);
    let answers = answers(&scene, &run);
    let mut person = run.done();

    assert_progress(&answers);
    assert_eq!(measured(&scene), ["4 of 4 indexes"]);
    assert_eq!(scene.admin().text(left), "0");
    assert_eq!(person.text("SELECT pg_my_temp_schema()"), "0");
    let copying: Vec<_> = answers.iter().filter(|a| a.phase == "copying").collect();
    let known: Vec<_> = copying.iter().filter_map(|a| a.eta).collect();
    assert!(known.len() * 2 > copying.len(), "{copying:#?}");
    assert!(known.last().unwrap() < known.first().unwrap(), "{known:?}");
    assert!(known[0] > 0.0, "{known:?}");
}

/// An error in the measurement is not the deployment's; the end is then not known, and that is said.
#[test]
fn an_index_that_cannot_be_measured_stops_nothing() {
    let scene = STAGE.wide_users(BLOCKS);
    scene.admin().run(
        "CREATE FUNCTION fails(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF to_regclass('pg_temp.bluegreen_sample') IS NOT NULL THEN
                 RAISE 'measured';
             END IF;
             RETURN upper(name);
         END $$;
         CREATE INDEX ON users (public.fails(name))",
    );
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.until("SELECT EXISTS (SELECT FROM bluegreen.history WHERE step = 'sample')");
    let line = scene.owner().text("SELECT bg_progress('users')");
    let answers = answers(&scene, &run);
    run.done();

    assert_eq!(measured(&scene), ["3 of 4 indexes"]);
    assert_progress(&answers);
    assert!(line.contains(" copying [") && line.contains(", end unknown"), "{line}");
    assert!(answers.iter().filter(|a| a.phase == "copying").all(|a| a.eta.is_none()));
}

/// Event triggers hear of nothing that does not come to be.
#[test]
fn event_triggers_do_not_hear_of_the_measurement() {
    let scene = STAGE.wide_users(BLOCKS);
    scene.admin().run(
        "CREATE FUNCTION hear() RETURNS event_trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF to_regclass('pg_temp.bluegreen_sample') IS NOT NULL THEN
                 PERFORM nextval('public.heard');
             END IF;
         END $$;
         CREATE SEQUENCE heard;
         CREATE INDEX ON users (upper(name));
         CREATE EVENT TRIGGER hear ON ddl_command_end EXECUTE FUNCTION hear()",
    );
    prepare(&scene);
    run_with(&scene, SLOWLY).done();

    assert_eq!(measured(&scene), ["only sizes"]);
    // A sequence is not rolled back.
    assert_eq!(scene.admin().text("SELECT is_called FROM heard"), "f");
}

/// Whatever a table is called, its line is one of a terminal.
#[test]
fn a_line_has_110_columns_at_most() {
    let scene = STAGE.empty();
    // The blue schema's name is longer.
    let [schema, wide] = [19, 21].map(|letters| "表".repeat(letters));
    scene.admin().run(&format!("CREATE SCHEMA \"{schema}\" AUTHORIZATION owner"));
    let tables = [format!("\"{schema}\".\"{wide}\""), "\"a\n\tb\"".to_owned()];
    let mut owner = scene.owner();
    for table in &tables {
        scene.table(table, "id int PRIMARY KEY");
        owner.run(&format!("SELECT bg_prepare('{table}', '')"));
    }
    let mut lines = owner.list("SELECT bg_progress() ORDER BY 1");
    owner.run(&format!("SELECT bg_pause('{}')", tables[0]));
    lines.extend(owner.list("SELECT bg_progress() ORDER BY 1"));

    assert_eq!(lines.len(), 4);
    for line in &lines {
        let columns: usize = line.chars().map(|c| if c == '表' { 2 } else { 1 }).sum();
        assert!(columns <= 110 && !line.contains(['\n', '\t']), "{columns}: {line}");
        assert!(line.contains(" prepared [....................] 0%"), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("paused")), "{lines:?}");
}
