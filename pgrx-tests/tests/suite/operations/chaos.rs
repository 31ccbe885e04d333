//! A short run of `cargo chaos`: two seeds that are always the same; `BLUEGREEN_SEED` plays another one
//! instead of the second. New ones are for `cargo chaos`: what they find is no fault of the change that
//! is being verified.

use std::time::Duration;

use bluegreen_tests::chaos::{self, Course};

fn play(seed: u64, seconds: u64) {
    println!("BLUEGREEN_SEED={seed}");
    let course = Course {
        seed,
        time: Duration::from_secs(seconds),
        steps: u64::MAX,
        episode: None,
        aloud: false,
        readers: chaos::READERS,
    };
    match chaos::play(&course) {
        Ok(diary) => print!("{diary}"),
        Err(finding) => panic!("{finding:#}"),
    }
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_is_left_behind() {
    play(5, 8);
    let given = std::env::var("BLUEGREEN_SEED").ok().and_then(|seed| seed.parse().ok());
    play(given.unwrap_or(77), 8);
}
