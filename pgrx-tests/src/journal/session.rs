//! A writer's connection: statements in its voice, for the shape that the table has now.

use std::collections::HashMap;

use postgres::types::ToSql;
use postgres::{Client, NoTls, SimpleQueryMessage};

use super::schema::{Schema, Statement};
use super::sums::Sums;
use super::voice::{Value, Voice, with_literals};

/// A row as the writers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub id: i64,
    /// Its name.
    pub name: Option<String>,
    /// Its email address.
    pub email: Option<String>,
    /// What it adds to the table's sums.
    pub sums: Sums,
}

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// The server or the connection said so.
    Database(postgres::Error),
    /// The table is not as it must be: a locked row is not there …
    Surprise(String),
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        Failure::Database(error)
    }
}

/// A writer's connection.
pub struct Session {
    client: Client,
    schema: Schema,
    voice: Voice,
    /// Which of the schema's shapes it believes in.
    shape: usize,
    prepared: HashMap<(usize, Statement), postgres::Statement>,
}

impl Session {
    /// Connects.
    pub fn open(
        config: &postgres::Config,
        schema: &Schema,
        voice: Voice,
    ) -> Result<Self, postgres::Error> {
        let client = config.connect(NoTls)?;
        Ok(Self { client, schema: schema.clone(), voice, shape: 0, prepared: HashMap::new() })
    }

    /// Sends BEGIN, SAVEPOINT and the like.
    pub fn control(&mut self, sql: &str) -> Result<(), postgres::Error> {
        self.client.batch_execute(sql)
    }

    /// For questions that are no part of the work.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The writer's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The voice it was opened with.
    pub fn voice(&self) -> Voice {
        self.voice
    }

    /// Goes on with the other shape.
    pub fn turn(&mut self) {
        self.shape = 1 - self.shape;
    }

    /// Forgets what is prepared, as DEALLOCATE ALL would.
    pub fn forget(&mut self) {
        self.prepared.clear();
    }

    /// Says a statement. The rows are those that it returned.
    pub fn say(&mut self, statement: Statement, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        match self.voice {
            Voice::Simple => self.say_literally(statement, values),
            Voice::Prepared | Voice::Function => self.say_prepared(statement, values),
        }
    }

    fn say_literally(
        &mut self,
        statement: Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let sql = self.schema.sql(self.schema.shape(self.shape), statement);
        let messages = self.client.simple_query(&with_literals(&sql, values))?;
        if !statement.gives_rows() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(parse(|column| row.get(column))?);
            }
        }
        Ok(rows)
    }

    fn say_prepared(
        &mut self,
        statement: Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let key = (self.shape, statement);
        let prepared = match self.prepared.get(&key) {
            Some(prepared) => prepared.clone(),
            None => {
                let shape = self.schema.shape(self.shape);
                let sql = match self.voice {
                    Voice::Function => call(&shape.label, statement),
                    Voice::Simple | Voice::Prepared => self.schema.sql(shape, statement),
                };
                let prepared = self.client.prepare(&sql)?;
                self.prepared.insert(key, prepared.clone());
                prepared
            }
        };
        let parameters: Vec<Box<dyn ToSql + Sync>> = values.iter().map(Value::parameter).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(AsRef::as_ref).collect();
        let found = self.client.query(&prepared, &parameters)?;
        if !statement.gives_rows() {
            return Ok(Vec::new());
        }
        found.iter().map(|row| parse(|column| row.get(column))).collect()
    }
}

/// The name of the PL/pgSQL function that says a statement.
pub fn function(label: &str, statement: Statement) -> String {
    format!("journal.{label}_{}", statement.label())
}

fn call(label: &str, statement: Statement) -> String {
    let parameters: Vec<String> = statement
        .parameters()
        .iter()
        .enumerate()
        .map(|(index, name)| format!("${}::{name}", index + 1))
        .collect();
    format!("SELECT * FROM {}({})", function(label, statement), parameters.join(", "))
}

/// Reads the six text columns that a row is given in.
fn parse<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Result<Row, Failure> {
    let number = |at: usize| -> Result<i64, Failure> {
        column(at)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::Surprise(format!("column {at} of a row is no number")))
    };
    let id = number(0)?;
    Ok(Row {
        id,
        name: column(1).map(str::to_owned),
        email: column(2).map(str::to_owned),
        sums: Sums { rows: 1, ids: id, names: number(3)?, emails: number(4)?, whole: number(5)? },
    })
}
