//! Those who read: each takes its snapshot with [`CONTROL`], waits without a lock on the table, reads it,
//! and lets the ledger judge what it saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;
use rand::Rng;
use rand::rngs::StdRng;

use super::ledger::{Row, Seen};
use super::table::{BY_INDEX, CONTROL, NEWBORNS, PAIR_IDS, ROWS_OF_INDEX, WHICH, rows_of};
use super::traffic::{Halt, Traffic, nap};
use super::writers::{expect_rows, insert_sql};
use crate::story::Person;

/// The longest wait between a snapshot and the reading.
pub const MOST: Duration = Duration::from_secs(2);

/// How a reader gets at the rows.
fn plan(person: &mut Person, random: &mut StdRng) -> Result<String, Halt> {
    let (settings, sql) = match random.random_range(0..3) {
        0 => ("RESET enable_seqscan; RESET enable_bitmapscan", rows_of("entries")),
        1 => (BY_INDEX, rows_of("entries")),
        _ => (BY_INDEX, ROWS_OF_INDEX.to_owned()),
    };
    person.try_run(settings)?;
    Ok(sql)
}

/// REPEATABLE READ, and SERIALIZABLE where that is the level.
pub fn send_repeatable(traffic: &Arc<Traffic>, count: usize, level: &'static str, most: Duration) {
    let kind = if level == "SERIALIZABLE" { "serializable" } else { "repeatable read" };
    for _ in 0..count {
        traffic.send(kind, Traffic::app, move |traffic, person, random| {
            let rows = plan(person, random)?;
            let mut seen = Seen::default();
            let began = Instant::now();
            person.try_run(&format!("BEGIN ISOLATION LEVEL {level}"))?;
            seen.add(&person.try_rows(CONTROL)?);
            std::thread::sleep(nap(random, most));
            match person.try_rows(&rows) {
                Ok(rows) => seen.add(&rows),
                Err(refusal) if level == "SERIALIZABLE" && refusal.code == "40001" => {
                    traffic.tally(kind, |tally| tally.refused += 1);
                    return Ok(person.try_run("ROLLBACK")?);
                }
                Err(refusal) => return Err(refusal.into()),
            }
            person.try_run("COMMIT")?;
            traffic.judge(kind, &seen);
            if level == "SERIALIZABLE" {
                // Its predicate locks stay while others of this level run: as long without, on any machine.
                std::thread::sleep(began.elapsed().mul_f64(random.random_range(0.5..2.0)));
            }
            Ok(())
        });
    }
}

/// READ COMMITTED: a statement that calls a STABLE function, which reads with the statement's snapshot,
/// and a cursor over such a one.
pub fn send_stable(traffic: &Arc<Traffic>, most: Duration) {
    traffic.send("stable function", Traffic::app, move |traffic, person, random| {
        let mut seen = Seen::default();
        let time = nap(random, most).as_secs_f64();
        seen.add(&person.try_rows(&format!("SELECT * FROM look_after({time})"))?);
        traffic.judge("stable function", &seen);
        Ok(())
    });
    traffic.send("cursor", Traffic::app, move |traffic, person, random| {
        let mut seen = Seen::default();
        // The function is not called before the first row is fetched.
        person.try_run("BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT * FROM look_after(0)")?;
        seen.add(&person.try_rows(WHICH)?);
        std::thread::sleep(nap(random, most));
        seen.add(&person.try_rows("FETCH ALL FROM c")?);
        person.try_run("COMMIT")?;
        traffic.judge("cursor", &seen);
        Ok(())
    });
}

/// A snapshot that another session has exported; imported at once, or after the wait.
pub fn send_imported(traffic: &Arc<Traffic>, most: Duration) {
    const KIND: &str = "imported snapshot";
    let connect = |traffic: &Traffic| (traffic.app(), traffic.app());
    traffic.send(KIND, connect, move |traffic, (giver, taker), random| {
        let rows = plan(taker, random)?;
        let mut seen = Seen::default();
        giver.try_run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        let name = giver.try_rows("SELECT pg_export_snapshot()")?;
        let name = name[0][0].clone().unwrap_or_default();
        let import =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{name}'");
        let early = random.random_bool(0.5);
        if early {
            taker.try_run(&import)?;
            seen.add(&taker.try_rows(CONTROL)?);
            giver.try_run("COMMIT")?;
        } else {
            seen.add(&giver.try_rows(CONTROL)?);
        }
        std::thread::sleep(nap(random, most));
        if !early {
            taker.try_run(&import)?;
            giver.try_run("COMMIT")?;
        }
        seen.add(&taker.try_rows(&rows)?);
        taker.try_run("COMMIT")?;
        traffic.judge(KIND, &seen);
        Ok(())
    });
}

/// A cursor over the table itself, which nobody can exchange while it is open; not often.
pub fn send_holders(traffic: &Arc<Traffic>, most: Duration) {
    traffic.send("open cursor", Traffic::app, move |traffic, person, random| {
        std::thread::sleep(most.mul_f64(random.random_range(0.5..2.5)));
        let mut seen = Seen::default();
        person.try_run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        seen.add(&person.try_rows(CONTROL)?);
        person.try_run(&format!("DECLARE c CURSOR FOR {}", rows_of("entries")))?;
        seen.add(&person.try_rows("FETCH 50 FROM c")?);
        std::thread::sleep(nap(random, most) / 4);
        seen.add(&person.try_rows("FETCH ALL FROM c")?);
        person.try_run("COMMIT")?;
        traffic.judge("open cursor", &seen);
        Ok(())
    });
}

/// READ COMMITTED, through postgres_fdw, whose remote side is REPEATABLE READ.
pub fn send_foreign(traffic: &Arc<Traffic>, most: Duration) {
    const KIND: &str = "through postgres_fdw";
    let control =
        CONTROL.replace("FROM control", "FROM f_control").replace("FROM bump", "FROM f_bump");
    traffic.send(KIND, Traffic::app, move |traffic, person, random| {
        let mut seen = Seen::default();
        person.try_run("BEGIN")?;
        seen.add(&person.try_rows(&control)?);
        std::thread::sleep(nap(random, most));
        seen.add(&person.try_rows(&rows_of("f_entries"))?);
        person.try_run("COMMIT")?;
        traffic.judge(KIND, &seen);
        Ok(())
    });
}

/// Those who make a row, and in their next transaction change it and write one that refers to it, a while
/// after their snapshot: directly in REPEATABLE READ, and through postgres_fdw. Nobody else writes these
/// rows, so that any error is one.
pub fn send_newborns(traffic: &Arc<Traffic>, number: i32, foreign: bool, most: Duration) {
    let kind = if foreign { "new row by postgres_fdw" } else { "new row" };
    let writer = NEWBORNS + number;
    let (entries, control) =
        if foreign { ("f_entries", "f_control") } else { ("entries", "control") };
    let level = if foreign { "READ COMMITTED" } else { "REPEATABLE READ" };
    let connect = move |traffic: &Traffic| {
        let mut person = traffic.app();
        person.run(&format!("INSERT INTO control VALUES ({writer}, 0) ON CONFLICT DO NOTHING"));
        person
    };
    let mut seq = 0;
    traffic.send(kind, connect, move |traffic, person, random| {
        seq += 1;
        let id = i64::from(writer) * 1_000_000 + seq;
        let origin = format!("{writer}.{seq}.1.{}", random.random_range(0..=4));
        let code = format!("B{writer}-{seq}");
        let mut row = Row { seq, nth: 1, value: 0, code, origin };
        traffic.ledger.enter(writer, seq, vec![(id, Some(row.clone()))]);
        let count = |seq: i64| format!("SET seq = {seq} WHERE writer = {writer}");
        person.try_run(&format!(
            "BEGIN; {}; UPDATE control {}; COMMIT",
            insert_sql(writer, id, &row),
            count(seq)
        ))?;
        person.try_run(&format!("BEGIN ISOLATION LEVEL {level}"))?;
        person.try_rows(&format!("SELECT seq FROM {control} WHERE writer = {writer}"))?;
        std::thread::sleep(nap(random, most));
        seq += 1;
        (row.seq, row.nth, row.value) = (seq, 2, row.value + 7);
        if !foreign {
            person.try_run(&format!("INSERT INTO notes VALUES ({id})"))?;
        }
        let update =
            format!("UPDATE {entries} SET value = value + 7, seq = {seq}, nth = 2 WHERE id = {id}");
        let done = expect_rows(person, &update, 1)
            .and_then(|()| expect_rows(person, &format!("UPDATE {control} {}", count(seq)), 1));
        if let Err(halt) = done {
            // Whatever the reason: the row is as it was made.
            let _ = person.try_run("ROLLBACK");
            seq -= 1;
            return Err(halt);
        }
        traffic.ledger.enter(writer, seq, vec![(id, Some(row))]);
        person.try_run("COMMIT")?;
        traffic.tally(kind, |tally| tally.done += 1);
        Ok(())
    });
}

/// Two SERIALIZABLE transactions that each read what the other writes: each sets one of two rows to 0 if
/// the other is 1. One at most may commit. Nobody has the table while there is a wait.
pub fn send_pair(traffic: &Arc<Traffic>, most: Duration) {
    const KIND: &str = "serializable pair";
    let connect = |traffic: &Traffic| (traffic.app(), traffic.app(), traffic.app());
    let read =
        format!("SELECT sum(value) FROM entries WHERE id IN ({}, {})", PAIR_IDS[0], PAIR_IDS[1]);
    let leave = |id: i64| format!("UPDATE entries SET value = 0 WHERE id = {id}");
    traffic.send(KIND, connect, move |traffic, (first, second, third), random| {
        let began = Instant::now();
        second.try_run("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM control LIMIT 1")?;
        std::thread::sleep(nap(random, most) / 2);
        first.try_run("BEGIN ISOLATION LEVEL SERIALIZABLE")?;
        let one = first.try_rows(&read).and_then(|_| first.try_run(&leave(PAIR_IDS[0])));
        let one = one.and_then(|()| first.try_run("COMMIT"));
        let before = first.try_rows(WHICH);
        std::thread::sleep(nap(random, most) / 2);
        let two = second.try_rows(&read).and_then(|_| second.try_run(&leave(PAIR_IDS[1])));
        let two = two.and_then(|()| second.try_run("COMMIT"));
        let straddled = before.is_ok() && before != third.try_rows(WHICH);
        for (person, result) in [(first, &one), (second, &two)] {
            if let Err(refusal) = result {
                if refusal.code != "40001" {
                    return Err(refusal.clone().into());
                }
                person.try_run("ROLLBACK")?;
            }
        }
        traffic.tally(KIND, |tally| {
            tally.done += 1;
            tally.straddled += usize::from(straddled);
            tally.refused += usize::from(one.is_err()) + usize::from(two.is_err());
        });
        if one.is_ok() && two.is_ok() {
            let how = if straddled { "across an exchange" } else { "without an exchange" };
            traffic.find(KIND, format!("both committed, {how}"));
        }
        third.try_run(&format!(
            "UPDATE entries SET value = 1 WHERE id IN ({}, {}) AND value = 0",
            PAIR_IDS[0], PAIR_IDS[1]
        ))?;
        std::thread::sleep(began.elapsed().mul_f64(random.random_range(0.2..1.0)));
        Ok(())
    });
}

/// REPEATABLE READ on a standby. What replay cannot wait for is ended by the server.
pub fn send_standby(
    traffic: &Arc<Traffic>,
    kind: &'static str,
    standby: &'static Cluster,
    most: Duration,
) {
    let connect = move |traffic: &Traffic| Person::connect(standby, "app", &traffic.database);
    traffic.send(kind, connect, move |traffic, person, random| {
        let look = |person: &mut Person, random: &mut StdRng| -> Result<Seen, Halt> {
            let rows = plan(person, random)?;
            let mut seen = Seen::default();
            person.try_run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
            seen.add(&person.try_rows(CONTROL)?);
            std::thread::sleep(nap(random, most));
            seen.add(&person.try_rows(&rows)?);
            person.try_run("COMMIT")?;
            Ok(seen)
        };
        match look(person, random) {
            Ok(seen) => traffic.judge(kind, &seen),
            Err(Halt::Refused(refusal)) if refusal.code != "40001" => return Err(refusal.into()),
            // Cancelled, or ended, for replay.
            Err(_) => {
                traffic.tally(kind, |tally| tally.refused += 1);
                if person.try_run("ROLLBACK").is_err() {
                    *person = Person::connect(standby, "app", &traffic.database);
                }
            }
        }
        Ok(())
    });
}
