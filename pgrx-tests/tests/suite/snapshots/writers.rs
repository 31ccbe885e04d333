//! Those who write: each has rows of its own, changes some of them in each transaction in ways that it
//! chooses by its seed, and enters what came of it. Beside them, those who lock rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::ledger::{Changes, Row};
use super::table::{COUNTER_COUNT, COUNTERS, counter_id};
use super::traffic::{Halt, Traffic, nap};
use crate::story::Person;
use crate::story::person::Refusal;

/// Rows that a writer has, about.
const ROWS: usize = 60;

type Rows = BTreeMap<i64, Row>;

/// What a writer does besides.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Transactions a second.
    pub pace: f64,
    /// Now and then REPEATABLE READ, and this long, at most, between its snapshot and its first write.
    pub nap: Duration,
    /// Now and then by PREPARE TRANSACTION.
    pub two_phase: bool,
}

/// A writer's session and what it knows.
struct Writer {
    number: i32,
    person: Person,
    seq: i64,
    rows: Rows,
    fresh: i64,
    due: Instant,
}

/// A transaction that is being made.
struct Draft<'a> {
    person: &'a mut Person,
    writer: i32,
    seq: i64,
    nth: i32,
    rows: Rows,
    fresh: &'a mut i64,
    writes: u64,
}

/// Sends so many writers, numbered from 1.
pub fn send(traffic: &Arc<Traffic>, count: i32, habits: Habits) {
    for number in 1..=count {
        let mut fresh = i64::from(number) * 1_000_000;
        let mut state: Option<Writer> = None;
        traffic.send(
            "writer",
            |_| (),
            move |traffic, (), random| {
                let mut writer = match state.take() {
                    Some(writer) => writer,
                    None => Writer::open(traffic, number, fresh)?,
                };
                let done = writer.turn(traffic, random, habits);
                if done.is_ok() {
                    let wait = writer.due.saturating_duration_since(Instant::now());
                    writer.due = (writer.due + Duration::from_secs_f64(1.0 / habits.pace))
                        .max(Instant::now() - Duration::from_millis(200));
                    state = Some(writer);
                    std::thread::sleep(wait.min(Duration::from_millis(500)));
                } else {
                    fresh = writer.fresh;
                }
                done
            },
        );
    }
}

impl Writer {
    /// Connects. Whether a transaction is there whose commit was not answered is told by its number.
    fn open(traffic: &Traffic, number: i32, fresh: i64) -> Result<Self, Halt> {
        let mut person = traffic.app();
        let found = person.try_rows(&format!("SELECT seq FROM control WHERE writer = {number}"))?;
        let seq = found.first().map(|row| row[0].as_deref().unwrap_or("0").parse().unwrap());
        if seq.is_none() {
            person.try_run(&format!("INSERT INTO control VALUES ({number}, 0)"))?;
        }
        let seq = seq.unwrap_or(0);
        traffic.ledger.withdraw(number, seq + 1);
        let rows = traffic.ledger.rows_at(number, seq);
        Ok(Self { number, person, seq, rows, fresh, due: Instant::now() })
    }

    fn turn(&mut self, traffic: &Traffic, random: &mut StdRng, habits: Habits) -> Result<(), Halt> {
        let repeatable = !habits.nap.is_zero() && random.random_ratio(1, 60);
        if repeatable {
            self.person.try_run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM control")?;
            std::thread::sleep(nap(random, habits.nap));
        } else {
            self.person.try_run("BEGIN")?;
        }
        let mut draft = Draft {
            person: &mut self.person,
            writer: self.number,
            seq: self.seq + 1,
            nth: 0,
            rows: self.rows.clone(),
            fresh: &mut self.fresh,
            writes: 0,
        };
        draft.work(random)?;
        if random.random_ratio(1, 12) {
            self.person.try_run("ROLLBACK")?;
            return Ok(());
        }
        let (rows, writes, seq) = (draft.rows, draft.writes, draft.seq);
        let control = format!("UPDATE control SET seq = {seq} WHERE writer = {}", self.number);
        expect_rows(&mut self.person, &control, 1)?;
        let changes = changes(&self.rows, &rows);
        if habits.two_phase && random.random_ratio(1, 40) {
            let name = format!("w{}", self.number);
            self.person.try_run(&format!("PREPARE TRANSACTION '{name}'"))?;
            traffic.ledger.enter(self.number, seq, changes);
            self.person.try_run(&format!("COMMIT PREPARED '{name}'"))?;
        } else {
            traffic.ledger.enter(self.number, seq, changes);
            self.person.try_run("COMMIT")?;
        }
        self.rows = rows;
        self.seq = seq;
        traffic.writes.fetch_add(writes, Ordering::Relaxed);
        Ok(())
    }
}

fn changes(before: &Rows, after: &Rows) -> Changes {
    let gone = before.keys().filter(|id| !after.contains_key(id)).map(|id| (*id, None));
    let new = after.iter().filter(|(id, row)| before.get(id) != Some(row));
    gone.chain(new.map(|(id, row)| (*id, Some(row.clone())))).collect()
}

/// Says something that has to find so many rows.
pub fn expect_rows(person: &mut Person, sql: &str, count: u64) -> Result<(), Halt> {
    match person.client.execute(sql, &[]) {
        Ok(found) if found == count => Ok(()),
        Ok(found) => Err(Halt::Refused(Refusal {
            code: "lost".to_owned(),
            message: format!("{found} rows instead of {count}: {sql}"),
            detail: String::new(),
            hint: String::new(),
        })),
        Err(error) => Err(Refusal::from_error(&error).into()),
    }
}

impl Draft<'_> {
    fn work(&mut self, random: &mut StdRng) -> Result<(), Halt> {
        if random.random_ratio(1, 6) {
            // As an ORM does: look and lock first.
            let how = ["UPDATE", "NO KEY UPDATE", "SHARE"].choose(random).unwrap();
            let own = self.writer;
            let sql = format!("SELECT FROM entries WHERE writer = {own} AND id % 7 = 0 FOR {how}");
            self.person.try_run(&sql)?;
        }
        for _ in 0..random.random_range(1..=4) {
            if !random.random_ratio(1, 5) {
                self.change(random)?;
                continue;
            }
            let (rows, nth) = (self.rows.clone(), self.nth);
            self.person.try_run("SAVEPOINT s")?;
            for _ in 0..random.random_range(1..=3) {
                self.change(random)?;
            }
            if random.random_bool(0.5) {
                self.person.try_run("ROLLBACK TO s")?;
                (self.rows, self.nth) = (rows, nth);
            } else {
                self.person.try_run("RELEASE s")?;
            }
        }
        Ok(())
    }

    fn change(&mut self, random: &mut StdRng) -> Result<(), Halt> {
        let ids: Vec<i64> = self.rows.keys().copied().collect();
        let pick = ids.choose(random).copied();
        let (Some(id), true) = (pick, ids.len() > ROWS / 2) else {
            return self.insert(random);
        };
        let other = ids.choose(random).copied().unwrap_or(id);
        match random.random_range(0..100) {
            0..40 => self.set_value(id, 1),
            // The same row again and again.
            40..50 => (0..random.random_range(2..5)).try_for_each(|_| self.set_value(id, 1)),
            // Two rows whose sum stays.
            50..56 if other != id => {
                self.set_value(id, -5)?;
                self.set_value(other, 5)
            }
            56..66 => self.set_body(id, random),
            66..71 => self.set_code(id),
            71..78 => {
                let to = self.fresh_id();
                self.move_key(id, to)
            }
            78..80 => {
                let to = self.fresh_id();
                self.move_key(id, to)?;
                self.set_value(to, 1)?;
                self.move_key(to, id)
            }
            80..82 if other != id => {
                // Two rows exchange their keys.
                let between = self.fresh_id();
                self.move_key(id, between)?;
                self.move_key(other, id)?;
                self.move_key(between, other)
            }
            82..85 => {
                self.delete(id)?;
                self.insert_at(id, random)
            }
            85..92 if ids.len() > ROWS => self.delete(id),
            85..96 => self.insert(random),
            _ => {
                // A row that is there for a moment only.
                let new = self.fresh_id();
                self.insert_at(new, random)?;
                self.set_value(new, 1)?;
                self.delete(new)
            }
        }
    }

    fn fresh_id(&mut self) -> i64 {
        *self.fresh += 1;
        *self.fresh
    }

    fn next(&mut self) -> (i64, i32) {
        self.nth += 1;
        self.writes += 1;
        (self.seq, self.nth)
    }

    fn set_value(&mut self, id: i64, by: i64) -> Result<(), Halt> {
        let (seq, nth) = self.next();
        let row = self.rows.get_mut(&id).expect("a row of its own");
        (row.seq, row.nth) = (seq, nth);
        row.value += by;
        let sql = format!(
            "UPDATE entries SET value = value + {by}, seq = {seq}, nth = {nth} WHERE id = {id}"
        );
        expect_rows(self.person, &sql, 1)
    }

    fn set_body(&mut self, id: i64, random: &mut StdRng) -> Result<(), Halt> {
        let (seq, nth) = self.next();
        let origin = origin(self.writer, seq, nth, random);
        let row = self.rows.get_mut(&id).expect("a row of its own");
        (row.seq, row.nth) = (seq, nth);
        row.origin.clone_from(&origin);
        let sql = format!(
            "UPDATE entries SET origin = '{origin}', body = body_of('{origin}'), seq = {seq}, nth = {nth}
                 WHERE id = {id}"
        );
        expect_rows(self.person, &sql, 1)
    }

    fn set_code(&mut self, id: i64) -> Result<(), Halt> {
        let (seq, nth) = self.next();
        let code = format!("C{}-{seq}-{nth}", self.writer);
        let row = self.rows.get_mut(&id).expect("a row of its own");
        (row.seq, row.nth) = (seq, nth);
        row.code.clone_from(&code);
        let sql =
            format!("UPDATE entries SET code = '{code}', seq = {seq}, nth = {nth} WHERE id = {id}");
        expect_rows(self.person, &sql, 1)
    }

    fn move_key(&mut self, id: i64, to: i64) -> Result<(), Halt> {
        let (seq, nth) = self.next();
        let mut row = self.rows.remove(&id).expect("a row of its own");
        (row.seq, row.nth) = (seq, nth);
        self.rows.insert(to, row);
        let sql = format!("UPDATE entries SET id = {to}, seq = {seq}, nth = {nth} WHERE id = {id}");
        expect_rows(self.person, &sql, 1)
    }

    fn delete(&mut self, id: i64) -> Result<(), Halt> {
        self.next();
        self.rows.remove(&id);
        expect_rows(self.person, &format!("DELETE FROM entries WHERE id = {id}"), 1)
    }

    fn insert(&mut self, random: &mut StdRng) -> Result<(), Halt> {
        let id = self.fresh_id();
        self.insert_at(id, random)
    }

    fn insert_at(&mut self, id: i64, random: &mut StdRng) -> Result<(), Halt> {
        let (seq, nth) = self.next();
        let origin = origin(self.writer, seq, nth, random);
        let row = Row { seq, nth, value: 0, code: format!("C{}-{seq}-{nth}", self.writer), origin };
        let sql = insert_sql(self.writer, id, &row);
        self.rows.insert(id, row);
        expect_rows(self.person, &sql, 1)
    }
}

/// The statement that makes a row.
pub fn insert_sql(writer: i32, id: i64, row: &Row) -> String {
    let Row { seq, nth, value, code, origin } = row;
    format!(
        "INSERT INTO entries (id, writer, seq, nth, value, code, origin, body)
             VALUES ({id}, {writer}, {seq}, {nth}, {value}, '{code}', '{origin}', body_of('{origin}'))"
    )
}

/// Of a new body; most are short.
fn origin(writer: i32, seq: i64, nth: i32, random: &mut StdRng) -> String {
    let kind = [0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4].choose(random).unwrap();
    format!("{writer}.{seq}.{nth}.{kind}")
}

/// Those who hold locks on rows of the writers for a moment, and change nothing.
pub fn send_lockers(traffic: &Arc<Traffic>, count: usize, writers: i32) {
    for _ in 0..count {
        traffic.send("locker", Traffic::app, move |traffic, person, random| {
            let how = ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE", "KEY SHARE"];
            let how = how.choose(random).unwrap();
            let writer = random.random_range(1..=writers);
            let (modulus, rest) = (random.random_range(2..9), random.random_range(0..2));
            // Behind a row that its writer has changed twice it may wait all the same, and must have no
            // other row then (findings/skip_locked_waits_and_deadlocks.sh).
            let limit = if *how == "KEY SHARE" { "LIMIT 1" } else { "" };
            let lock = format!(
                "SELECT FROM entries WHERE writer = {writer} AND id % {modulus} = {rest} {limit}
                     FOR {how} SKIP LOCKED"
            );
            let savepoint = if random.random_bool(0.3) { "SAVEPOINT s;" } else { "" };
            person.try_run(&format!("BEGIN; {savepoint} {lock}"))?;
            std::thread::sleep(Duration::from_millis(random.random_range(1..25)));
            let end = if random.random_bool(0.3) { "ROLLBACK" } else { "COMMIT" };
            person.try_run(end)?;
            traffic.tally("locker", |tally| tally.done += 1);
            std::thread::sleep(Duration::from_millis(random.random_range(5..60)));
            Ok(())
        });
    }
}

/// Those who count up rows that others count up too; in REPEATABLE READ, with a wait after the snapshot.
pub fn send_counters(traffic: &Arc<Traffic>, kind: &'static str, most: Duration) {
    traffic.send(kind, Traffic::app, move |traffic, person, random| {
        let counter = COUNTERS + random.random_range(0..COUNTER_COUNT);
        if most.is_zero() {
            person.try_run("BEGIN")?;
        } else {
            person.try_run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM bump LIMIT 1")?;
            std::thread::sleep(nap(random, most));
        }
        let id = counter_id(counter);
        let update = format!("UPDATE entries SET value = value + 1 WHERE id = {id}");
        let done = expect_rows(person, &update, 1).and_then(|()| {
            let sql = format!(
                "INSERT INTO bump VALUES ({counter}); INSERT INTO notes VALUES ({id}); COMMIT"
            );
            Ok(person.try_run(&sql)?)
        });
        match done {
            Err(Halt::Refused(refusal)) if refusal.code == "40001" && !most.is_zero() => {
                person.try_run("ROLLBACK")?;
                traffic.tally(kind, |tally| tally.refused += 1);
            }
            Err(halt) => return Err(halt),
            Ok(()) => {
                traffic.tally(kind, |tally| tally.done += 1);
                traffic.writes.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(20..120)));
        Ok(())
    });
}

/// VACUUM of both tables now and then, which prunes, freezes and makes pages all-visible.
pub fn send_vacuums(traffic: &Arc<Traffic>) {
    let connect =
        |traffic: &Traffic| Person::connect(traffic.cluster, "postgres", &traffic.database);
    traffic.send("vacuum", connect, |traffic, person, random| {
        let table = ["public.entries", "public_blue.entries"].choose(random).unwrap();
        let how = ["", "(FREEZE)", "(INDEX_CLEANUP ON)"].choose(random).unwrap();
        match person.try_run(&format!("VACUUM {how} {table}")) {
            // It may wait for an exchange, or be ended for one.
            Err(refusal) if !["55P03", "57014"].contains(&refusal.code.as_str()) => {
                return Err(refusal.into());
            }
            done => traffic.tally("vacuum", |tally| {
                tally.done += 1;
                tally.refused += usize::from(done.is_err());
            }),
        }
        std::thread::sleep(Duration::from_millis(random.random_range(300..1500)));
        Ok(())
    });
}
