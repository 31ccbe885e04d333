//! Eight writers at full speed across a whole deployment: no committed write is lost, and no client
//! gets an error. `BLUEGREEN_REPEAT` says how often, `BLUEGREEN_SEED` where chance begins.

use std::time::Duration;

use bluegreen_tests::journal::Workload;

use crate::story::course::{Course, repeats};
use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

/// Eight rests, in which writers are left alone, make eight seconds.
const REST: Duration = Duration::from_secs(1);

#[test]
fn writers_lose_nothing_and_see_no_error_when_a_table_is_rewritten_as_it_is() {
    for _ in 0..repeats() {
        let scene = STAGE.users(20_000);
        // Nothing changes for anybody: also `SELECT *` prepared before goes on.
        let mut course = Course::of("");
        course.rest = REST;
        course.workload.look = true;
        bluegreen_tests::journal::open(&mut scene.admin().client, &course.schema, "app").unwrap();
        let before = scene.inventory();

        course.run(&scene, |_| {}, |_| {});

        before.assert_same(&scene.inventory());
    }
}

#[test]
fn writers_lose_nothing_and_see_no_error_when_a_column_is_added() {
    for _ in 0..repeats() {
        let scene = STAGE.users(20_000);
        let mut course = Course::of("ADD COLUMN phone text");
        course.rest = REST;
        bluegreen_tests::journal::open(&mut scene.admin().client, &course.schema, "app").unwrap();
        let before = scene.inventory();

        course.run(
            &scene,
            |admin| admin.run("SELECT phone FROM users LIMIT 1"),
            |admin| assert_eq!(admin.refused("SELECT phone FROM users").code, "42703"),
        );

        before.assert_same(&scene.inventory().without(&["public.users.phone "]));
    }
}

#[test]
fn writers_that_also_truncate_lose_nothing_and_see_no_error() {
    for _ in 0..repeats() {
        let scene = STAGE.users(20_000);
        let mut course = Course::of("ADD COLUMN phone text");
        course.rest = Duration::from_millis(700);
        course.workload =
            Workload { truncate: Some(Duration::from_millis(900)), ..course.workload };

        course.run(&scene, |_| {}, |_| {});
    }
}
