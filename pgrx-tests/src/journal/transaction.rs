//! A writer's random transactions.
//!
//! None of them may fail by itself, so that every error comes from what is done to the table. Two
//! kinds of rows: *private* ones belong to one writer, and only it touches them; *shared* ones belong to
//! all, and their keys never change. The rules:
//!
//! - A transaction locks all shared rows that it will touch with one statement, in the order of
//!   their keys, before it changes anything. As these keys never change, the order is the same for
//!   everybody, and no deadlock is possible.
//! - Only a transaction with a single shared row may delete it for good or put it back (`Refill`).
//! - A new value of a unique column is fresh, or is taken from a row that this transaction holds.
//! - A key that becomes free is used again in the same transaction only.
//! - TRUNCATE is a transaction's first statement.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::random::{Fresh, name};
use super::schema::Statement;
use super::session::{Failure, Row, Session};
use super::sums::Sums;
use super::voice::Value;

/// A writer with this many rows of its own deletes more than it inserts.
const MANY: usize = 2_000;
/// A writer with fewer rows of its own inserts more than it deletes.
const FEW: usize = 200;

/// What a transaction has done so far; a copy of it is a savepoint.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// Its effect on the table's sums.
    pub effect: Sums,
    /// The writer's private keys, as they are when it commits.
    pub keys: Vec<i64>,
    /// The private rows that it holds.
    private: Vec<Row>,
    /// The shared rows that it holds.
    shared: Vec<Row>,
}

impl Work {
    /// Nothing yet, by a writer with these private keys.
    pub fn new(keys: Vec<i64>) -> Self {
        Self { keys, ..Self::default() }
    }
}

/// One transaction being made.
pub struct Transaction<'a> {
    /// Where to.
    pub session: &'a mut Session,
    /// The writer's chance.
    pub random: &'a mut StdRng,
    /// The writer's own keys and addresses.
    pub fresh: &'a mut Fresh,
    /// What has been done.
    pub work: Work,
    /// Also say `SELECT *`.
    pub look: bool,
}

impl Transaction<'_> {
    /// Empties the table and enters that; then a few new rows.
    pub fn truncate(&mut self, writer: i64, txn: i64) -> Result<(), Failure> {
        self.session.say(Statement::Truncate, &[])?;
        self.session.say(Statement::Reset, &[Value::Int(writer), Value::Int(txn)])?;
        self.work = Work::default();
        for _ in 0..self.random.random_range(0..4) {
            self.insert()?;
        }
        Ok(())
    }

    /// Locks some rows and does something with them.
    pub fn work(&mut self, shared: &[i64]) -> Result<(), Failure> {
        self.lock(shared)?;
        if self.random.random_ratio(1, 5) {
            self.session.control("SAVEPOINT s")?;
            let before = self.work.clone();
            self.steps()?;
            if self.random.random_bool(0.5) {
                self.session.control("ROLLBACK TO SAVEPOINT s")?;
                self.work = before;
            } else {
                self.session.control("RELEASE SAVEPOINT s")?;
            }
        }
        self.steps()
    }

    fn lock(&mut self, shared: &[i64]) -> Result<(), Failure> {
        let count = self.random.random_range(0..4);
        let mut keys: Vec<i64> =
            (0..count.min(shared.len())).filter_map(|_| pick(self.random, shared)).collect();
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            self.work.shared = self.session.say(Statement::Lock, &[Value::Ints(&keys)])?;
            if let ([key], []) = (keys.as_slice(), self.work.shared.as_slice()) {
                self.refill(*key)?;
            }
        }

        let count = self.random.random_range(0..4);
        let mut keys: Vec<i64> =
            (0..count).filter_map(|_| pick(self.random, &self.work.keys)).collect();
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            self.work.private = self.session.say(Statement::Lock, &[Value::Ints(&keys)])?;
            if self.work.private.len() < keys.len() {
                // Somebody has truncated the table.
                let found: Vec<i64> = self.work.private.iter().map(|row| row.id).collect();
                self.work.keys.retain(|key| !keys.contains(key) || found.contains(key));
            }
        }
        if self.look
            && let Some(row) = self.work.private.first()
        {
            self.session.say(Statement::Look, &[Value::Int(row.id)])?;
        }
        Ok(())
    }

    fn steps(&mut self) -> Result<(), Failure> {
        for _ in 0..self.random.random_range(1..4) {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Failure> {
        let (few, many) = (self.work.keys.len() < FEW, self.work.keys.len() > MANY);
        match self.random.random_range(0..14) {
            0..=2 if !many => self.insert(),
            0..=2 => self.delete(),
            3 if !few => self.delete(),
            3 => self.insert(),
            4..=6 => self.update(),
            7 => self.move_key(),
            8 => self.chain_keys(),
            9 => self.exchange_keys(),
            10 => self.replace(),
            11 => self.exchange_emails(),
            12 => self.take_over_email(),
            _ => self.delete_shared(),
        }
    }

    /// New rows, with keys of the sequence.
    fn insert(&mut self) -> Result<(), Failure> {
        let (name, email) = (name(self.random), self.fresh.email());
        let row = self
            .one(Statement::Insert, &[Value::Text(name.as_deref()), Value::Text(Some(&email))])?;
        self.work.effect += row.sums;
        self.work.keys.push(row.id);
        self.work.private.push(row);
        Ok(())
    }

    /// Puts a shared row back; another writer may be faster.
    fn refill(&mut self, key: i64) -> Result<(), Failure> {
        let (name, email) = (name(self.random), self.fresh.email());
        let values = [Value::Int(key), Value::Text(name.as_deref()), Value::Text(Some(&email))];
        let rows = self.session.say(Statement::Refill, &values)?;
        for row in rows {
            self.work.effect += row.sums;
            self.work.shared.push(row);
        }
        Ok(())
    }

    /// New values, or the same again.
    fn update(&mut self) -> Result<(), Failure> {
        let Some(row) = self.any() else { return self.insert() };
        let (name, email) = match self.random.random_range(0..4) {
            0 => (row.name.clone(), row.email.clone()),
            1 => (name(self.random), Some(self.fresh.email())),
            _ => (name(self.random), row.email.clone()),
        };
        self.write(&row, name, email)?;
        Ok(())
    }

    /// A private row gets another key; sometimes its first one again.
    fn move_key(&mut self) -> Result<(), Failure> {
        let Some(row) = pick(self.random, &self.work.private) else { return self.update() };
        let first = row.id;
        let key = self.fresh.key();
        let moved = self.rekey(&row, key)?;
        if self.random.random_ratio(1, 3) {
            self.rekey(&moved, first)?;
        }
        Ok(())
    }

    /// One row's key becomes free and the other row takes it.
    fn chain_keys(&mut self) -> Result<(), Failure> {
        let Some((one, other)) = self.two_private() else { return self.move_key() };
        let key = self.fresh.key();
        self.rekey(&one, key)?;
        self.rekey(&other, one.id)?;
        Ok(())
    }

    /// Two rows exchange their keys.
    fn exchange_keys(&mut self) -> Result<(), Failure> {
        let Some((one, other)) = self.two_private() else { return self.move_key() };
        let key = self.fresh.key();
        let moved = self.rekey(&one, key)?;
        self.rekey(&other, one.id)?;
        self.rekey(&moved, other.id)?;
        Ok(())
    }

    /// A private row goes.
    fn delete(&mut self) -> Result<(), Failure> {
        let Some(row) = pick(self.random, &self.work.private) else { return self.update() };
        self.remove(&row)?;
        self.work.keys.retain(|key| *key != row.id);
        Ok(())
    }

    /// A shared row goes, if it is the only one that is held.
    fn delete_shared(&mut self) -> Result<(), Failure> {
        match self.work.shared.as_slice() {
            [row] => {
                let row = row.clone();
                self.remove(&row)
            }
            _ => self.update(),
        }
    }

    /// A row goes and another one with the same key comes, sometimes with the same email address;
    /// or the email address goes to a row with a new key.
    fn replace(&mut self) -> Result<(), Failure> {
        let Some(row) = self.any() else { return self.insert() };
        let private = self.work.private.iter().any(|held| held.id == row.id);
        self.remove(&row)?;
        let name = name(self.random);
        let (same_key, same_email) = match self.random.random_range(0..3) {
            0 => (true, false),
            1 => (true, true),
            _ => (!private, true),
        };
        let email = if same_email { row.email.clone() } else { Some(self.fresh.email()) };
        let key = if same_key { row.id } else { self.fresh.key() };
        let values = [Value::Int(key), Value::Text(name.as_deref()), Value::Text(email.as_deref())];
        let new = self.one(Statement::InsertKey, &values)?;
        self.work.effect += new.sums;
        if private {
            self.rename(row.id, key);
            self.work.private.push(new);
        } else {
            self.work.shared.push(new);
        }
        Ok(())
    }

    /// Two rows exchange a unique value.
    fn exchange_emails(&mut self) -> Result<(), Failure> {
        let Some((one, other)) = self.two_of_any() else { return self.update() };
        if self.session.schema().deferrable && self.random.random_bool(0.5) {
            let values = [
                Value::Int(one.id),
                Value::Text(one.email.as_deref()),
                Value::Int(other.id),
                Value::Text(other.email.as_deref()),
            ];
            let rows = self.session.say(Statement::Exchange, &values)?;
            if rows.len() != 2 {
                return Err(Failure::Surprise(format!("{} of 2 locked rows", rows.len())));
            }
            for new in rows {
                let old = if new.id == one.id { &one } else { &other };
                self.replace_held(old, &new);
            }
            return Ok(());
        }
        let passing = self.fresh.email();
        let moved = self.write(&one, one.name.clone(), Some(passing))?;
        self.write(&other, other.name.clone(), one.email)?;
        self.write(&moved, moved.name.clone(), other.email)?;
        Ok(())
    }

    /// One row gets a new email address, another row the one that became free.
    fn take_over_email(&mut self) -> Result<(), Failure> {
        let Some((one, other)) = self.two_of_any() else { return self.update() };
        let email = self.fresh.email();
        self.write(&one, one.name.clone(), Some(email))?;
        self.write(&other, other.name.clone(), one.email)?;
        Ok(())
    }

    fn write(
        &mut self,
        row: &Row,
        name: Option<String>,
        email: Option<String>,
    ) -> Result<Row, Failure> {
        let values =
            [Value::Int(row.id), Value::Text(name.as_deref()), Value::Text(email.as_deref())];
        let new = self.one(Statement::Update, &values)?;
        self.replace_held(row, &new);
        Ok(new)
    }

    fn rekey(&mut self, row: &Row, key: i64) -> Result<Row, Failure> {
        let new = self.one(Statement::UpdateKey, &[Value::Int(row.id), Value::Int(key)])?;
        self.replace_held(row, &new);
        self.rename(row.id, key);
        Ok(new)
    }

    fn remove(&mut self, row: &Row) -> Result<(), Failure> {
        let gone = self.one(Statement::Delete, &[Value::Int(row.id)])?;
        self.work.effect -= gone.sums;
        self.work.private.retain(|held| held.id != row.id);
        self.work.shared.retain(|held| held.id != row.id);
        Ok(())
    }

    /// Says a statement about one row, which must be there.
    fn one(&mut self, statement: Statement, values: &[Value<'_>]) -> Result<Row, Failure> {
        let mut rows = self.session.say(statement, values)?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (row, rest) => Err(Failure::Surprise(format!(
                "{} of one row gave {} rows: {values:?}",
                statement.label(),
                rest + usize::from(row.is_some())
            ))),
        }
    }

    fn replace_held(&mut self, old: &Row, new: &Row) {
        self.work.effect += new.sums - old.sums;
        for held in self.work.private.iter_mut().chain(&mut self.work.shared) {
            // Both rows of an exchange of keys pass here: the email address tells them apart.
            if held == old {
                *held = new.clone();
                return;
            }
        }
    }

    fn rename(&mut self, from: i64, to: i64) {
        if let Some(key) = self.work.keys.iter_mut().find(|key| **key == from) {
            *key = to;
        }
    }

    fn any(&mut self) -> Option<Row> {
        let count = self.work.private.len() + self.work.shared.len();
        let at = self.random.random_range(0..count.max(1));
        self.work.private.iter().chain(&self.work.shared).nth(at).cloned()
    }

    fn two_private(&mut self) -> Option<(Row, Row)> {
        two(self.random, self.work.private.clone())
    }

    fn two_of_any(&mut self) -> Option<(Row, Row)> {
        let rows = self.work.private.iter().chain(&self.work.shared).cloned().collect();
        two(self.random, rows)
    }
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    from.get(random.random_range(0..from.len())).cloned()
}

fn two(random: &mut StdRng, mut rows: Vec<Row>) -> Option<(Row, Row)> {
    rows.shuffle(random);
    Some((rows.pop()?, rows.pop()?))
}
