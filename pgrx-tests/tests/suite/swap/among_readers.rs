//! A swap among readers whose transactions overlap and last longer than one of its tries, beside a busy writer
//! (docs/hazards.md, 38): a sync without history in between would let it wait for the younger ones too, again
//! and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::story::person::Refusal;
use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

const READERS: u32 = 6;
/// How long each has its snapshot. A try of `CALL bg_run(…, 'swapped')` waits for two seconds.
const A_REPORT: Duration = Duration::from_secs(3);

/// Swaps and reverts by bg_run, beside a writer of so many rows ten times a second.
fn exchange(rows: u32) -> (Scene, Result<(), Refusal>) {
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v int NOT NULL DEFAULT 0");
    scene.admin().run("INSERT INTO t SELECT generate_series(1, 20000)");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('t', 'ADD COLUMN extra text')");
    owner.run("CALL bg_run('t')");
    owner.run("SET bluegreen.retry_for = '20s'");
    let stop = AtomicBool::new(false);
    let exchanged = std::thread::scope(|threads| {
        let (scene, stop) = (&scene, &stop);
        for number in 0..READERS {
            threads.spawn(move || {
                let mut reader = scene.app();
                std::thread::sleep(A_REPORT * number / READERS);
                while !stop.load(Ordering::SeqCst) {
                    reader.run(
                        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class",
                    );
                    std::thread::sleep(A_REPORT);
                    reader.run("COMMIT");
                }
            });
        }
        threads.spawn(move || {
            let (mut writer, mut first) = (scene.app(), 0);
            while !stop.load(Ordering::SeqCst) {
                let began = Instant::now();
                writer.run(&format!(
                    "UPDATE t SET v = v + 1 WHERE id > {first} AND id <= {first} + {rows}"
                ));
                first = (first + rows) % 20_000;
                std::thread::sleep(Duration::from_millis(100).saturating_sub(began.elapsed()));
            }
        });
        std::thread::sleep(A_REPORT);
        let exchanged = ["swapped", "reverted"].iter().try_for_each(|until| {
            owner.sync_without_history("t");
            let began = Instant::now();
            let exchanged = owner.try_run(&format!("CALL bg_run('t', '{until}')"));
            println!("{rows} rows ten times a second: {until} in {:?}", began.elapsed());
            exchanged
        });
        stop.store(true, Ordering::SeqCst);
        exchanged
    });
    (scene, exchanged)
}

fn assert_exchanged(rows: u32) {
    let (scene, exchanged) = exchange(rows);
    if let Err(refusal) = exchanged {
        panic!("{rows} rows ten times a second: {refusal:?}");
    }
    let mut owner = scene.owner();
    assert_eq!(owner.text("SELECT phase FROM bg_status('t')"), "ready");
    owner.run("CALL bg_run('t')");
    scene.assert_same("SELECT id, v FROM t", "SELECT id, v FROM public_blue.t");
}

/// It can bring in by itself what is written while it waits.
#[test]
fn trap_38_overlapping_readers_and_a_writer_do_not_put_the_swap_off() {
    assert_exchanged(60);
}

/// More is written than it can bring in by itself: syncs in between keep history.
#[test]
fn trap_38_overlapping_readers_and_a_fast_writer_do_not_put_the_swap_off() {
    assert_exchanged(400);
}
