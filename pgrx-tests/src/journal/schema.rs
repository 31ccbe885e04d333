//! What the writers' table looks like, before and after the change, and the statements that follow
//! from it.
//!
//! To the writers a row is a key, a name and an email address (unique). A [`Shape`] says in which
//! columns these are. Where the change moves them (a renamed column, a split one), the schema has a
//! second shape, and a writer whose statement fails because of a missing column (42703) goes on
//! with the other one, as a client does that knows both.

/// A column that the writers fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, quoted where that is needed.
    pub name: String,
    /// Its value, over the row's `{name}` and `{email}`.
    pub value: String,
}

impl Column {
    /// A column and the expression for its value.
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }
}

/// One definition of the table, as far as writers care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Part of the names of the functions for it.
    pub label: String,
    /// The key as a number: its column, or an expression over the columns of `identity`.
    pub key: String,
    /// The key's columns where `key` is none itself, with their values over the row's `{key}`.
    pub identity: Vec<Column>,
    /// The name, as an expression over the table's columns.
    pub name: String,
    /// The email address, as an expression over the table's columns.
    pub email: String,
    /// What is written.
    pub columns: Vec<Column>,
}

impl Shape {
    /// `id`, `name`, `email`.
    pub fn users(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            key: "id".to_owned(),
            identity: Vec::new(),
            name: "name".to_owned(),
            email: "email".to_owned(),
            columns: vec![Column::new("name", "{name}"), Column::new("email", "{email}")],
        }
    }

    /// The row as the writers see it, hashes included, all of it text.
    fn row(&self) -> String {
        let Shape { key, name, email, .. } = self;
        format!(
            "{key}::text, ({name})::text, ({email})::text, {}::text, {}::text, {}::text",
            self.name_hash(),
            self.email_hash(),
            self.whole_hash()
        )
    }

    fn name_hash(&self) -> String {
        format!("coalesce(hashtext(({})::text), 0)", self.name)
    }

    fn email_hash(&self) -> String {
        format!("coalesce(hashtext(({})::text), 0)", self.email)
    }

    fn whole_hash(&self) -> String {
        let Shape { key, name, email, .. } = self;
        format!(
            "hashtext({key}::text || '|' || coalesce(({name})::text, '~') || '|' \
             || coalesce(({email})::text, '~'))"
        )
    }

    /// The select list of a query over the whole table that gives its [`super::Sums`].
    pub fn sums(&self) -> String {
        format!(
            "count(*), coalesce(sum({}), 0)::int8, coalesce(sum({}), 0)::int8, \
             coalesce(sum({}), 0)::int8, coalesce(sum({}), 0)::int8",
            self.key,
            self.name_hash(),
            self.email_hash(),
            self.whole_hash()
        )
    }

    /// The rows of `table` as key, name and email address, whatever its columns are.
    pub fn rows(&self, table: &str) -> String {
        let Shape { key, name, email, .. } = self;
        format!("SELECT ({key})::int8, ({name})::text, ({email})::text FROM {table}")
    }

    fn values(&self, name: &str, email: &str) -> String {
        let value = |c: &Column| c.value.replace("{name}", name).replace("{email}", email);
        self.columns.iter().map(value).collect::<Vec<_>>().join(", ")
    }

    fn assignments(&self, name: &str, email: &str) -> String {
        let assignment = |c: &Column| {
            let value = c.value.replace("{name}", name).replace("{email}", email);
            format!("{} = {value}", c.name)
        };
        self.columns.iter().map(assignment).collect::<Vec<_>>().join(", ")
    }

    /// The key's columns.
    fn identity(&self) -> Vec<Column> {
        if self.identity.is_empty() {
            vec![Column::new(&self.key, "{key}")]
        } else {
            self.identity.clone()
        }
    }

    fn identity_names(&self) -> String {
        self.identity().iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn identity_values(&self, key: &str) -> String {
        let value = |c: &Column| c.value.replace("{key}", key);
        self.identity().iter().map(value).collect::<Vec<_>>().join(", ")
    }

    fn identity_assignments(&self, key: &str) -> String {
        let assignment = |c: &Column| format!("{} = {}", c.name, c.value.replace("{key}", key));
        self.identity().iter().map(assignment).collect::<Vec<_>>().join(", ")
    }

    fn names(&self) -> String {
        self.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The table under deployment, as the writers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The table's name, with its schema, quoted where that is needed.
    pub table: String,
    /// As it is before the change.
    pub before: Shape,
    /// As it is after, where the writers have to know.
    pub after: Option<Shape>,
    /// The email address is DEFERRABLE on both sides: two rows may exchange it in one statement.
    pub deferrable: bool,
}

impl Schema {
    /// `public.users (id, name, email)`, which stays so for the writers.
    pub fn users() -> Self {
        Self {
            table: "public.users".to_owned(),
            before: Shape::users("before"),
            after: None,
            deferrable: false,
        }
    }

    /// The shapes, the one before the change first.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        std::iter::once(&self.before).chain(&self.after)
    }

    /// A shape by its place; the last one for a place that is too high.
    pub fn shape(&self, place: usize) -> &Shape {
        match (place, &self.after) {
            (0, _) | (_, None) => &self.before,
            (_, Some(after)) => after,
        }
    }

    /// The SQL of a statement for a shape. Its parameters are `$1`, `$2` … each with a cast, so that
    /// it says the same with literals in their place.
    pub fn sql(&self, shape: &Shape, statement: Statement) -> String {
        let table = &self.table;
        let key = &shape.key;
        let row = shape.row();
        match statement {
            Statement::Lock => format!(
                "SELECT {row} FROM {table} WHERE {key} = ANY ($1::int8[]) ORDER BY {key} FOR UPDATE"
            ),
            Statement::Insert => format!(
                "INSERT INTO {table} ({}) VALUES ({}) RETURNING {row}",
                shape.names(),
                shape.values("$1::text", "$2::text")
            ),
            Statement::InsertKey => format!(
                "INSERT INTO {table} ({}, {}) VALUES ({}, {}) RETURNING {row}",
                shape.identity_names(),
                shape.names(),
                shape.identity_values("$1::int8"),
                shape.values("$2::text", "$3::text")
            ),
            Statement::Refill => format!(
                "INSERT INTO {table} ({}, {}) VALUES ({}, {}) \
                 ON CONFLICT ({}) DO NOTHING RETURNING {row}",
                shape.identity_names(),
                shape.names(),
                shape.identity_values("$1::int8"),
                shape.values("$2::text", "$3::text"),
                shape.identity_names()
            ),
            Statement::Update => format!(
                "UPDATE {table} SET {} WHERE {key} = $1::int8 RETURNING {row}",
                shape.assignments("$2::text", "$3::text")
            ),
            Statement::UpdateKey => format!(
                "UPDATE {table} SET {} WHERE {key} = $1::int8 RETURNING {row}",
                shape.identity_assignments("$2::int8")
            ),
            Statement::Delete => {
                format!("DELETE FROM {table} WHERE {key} = $1::int8 RETURNING {row}")
            }
            Statement::Exchange => format!(
                "UPDATE {table} SET {} WHERE {key} IN ($1::int8, $3::int8) RETURNING {row}",
                shape.assignments(
                    &shape.name,
                    &format!("(CASE {key} WHEN $1::int8 THEN $4::text ELSE $2::text END)")
                )
            ),
            Statement::Look => {
                format!("SELECT * FROM {table} WHERE {key} = $1::int8")
            }
            Statement::Truncate => format!("TRUNCATE {table}"),
            Statement::Enter => "INSERT INTO journal.entry \
                (writer, txn, what, rows, ids, names, emails, whole) VALUES \
                ($1::int8, $2::int8, 'delta', $3::int8, $4::int8, $5::int8, $6::int8, $7::int8)"
                .to_owned(),
            Statement::Reset => "INSERT INTO journal.entry \
                (writer, txn, what, rows, ids, names, emails, whole) \
                SELECT $1::int8, $2::int8, 'reset', -sum(rows), -sum(ids), -sum(names), \
                -sum(emails), -sum(whole) FROM journal.entry"
                .to_owned(),
        }
    }
}

/// What a writer says to the server, besides BEGIN, COMMIT and savepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Statement {
    /// Locks rows by their keys, in their order.
    Lock,
    /// A row that takes its key from the sequence.
    Insert,
    /// A row with a key that is known to be free.
    InsertKey,
    /// A row with a key that another writer may be inserting too.
    Refill,
    /// New name and email address.
    Update,
    /// A new key.
    UpdateKey,
    /// Deletes a row.
    Delete,
    /// Two rows exchange their email addresses in one statement.
    Exchange,
    /// `SELECT *`: a prepared one fails where the change alters the columns.
    Look,
    /// Empties the table.
    Truncate,
    /// Enters the transaction's effect.
    Enter,
    /// Enters the effect of TRUNCATE: minus all that the ledger holds.
    Reset,
}

impl Statement {
    /// All of them.
    pub const ALL: [Statement; 12] = [
        Statement::Lock,
        Statement::Insert,
        Statement::InsertKey,
        Statement::Refill,
        Statement::Update,
        Statement::UpdateKey,
        Statement::Delete,
        Statement::Exchange,
        Statement::Look,
        Statement::Truncate,
        Statement::Enter,
        Statement::Reset,
    ];

    /// Its name in SQL.
    pub fn label(self) -> &'static str {
        match self {
            Statement::Lock => "lock",
            Statement::Insert => "insert",
            Statement::InsertKey => "insert_key",
            Statement::Refill => "refill",
            Statement::Update => "update",
            Statement::UpdateKey => "update_key",
            Statement::Delete => "delete",
            Statement::Exchange => "exchange",
            Statement::Look => "look",
            Statement::Truncate => "truncate",
            Statement::Enter => "enter",
            Statement::Reset => "reset",
        }
    }

    /// The types of its parameters.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Statement::Lock => &["int8[]"],
            Statement::Insert => &["text", "text"],
            Statement::InsertKey | Statement::Refill | Statement::Update => {
                &["int8", "text", "text"]
            }
            Statement::UpdateKey => &["int8", "int8"],
            Statement::Delete | Statement::Look => &["int8"],
            Statement::Exchange => &["int8", "text", "int8", "text"],
            Statement::Truncate => &[],
            Statement::Enter => &["int8", "int8", "int8", "int8", "int8", "int8", "int8"],
            Statement::Reset => &["int8", "int8"],
        }
    }

    /// Whether it gives rows as the writers see them.
    pub fn gives_rows(self) -> bool {
        !matches!(self, Statement::Look | Statement::Truncate | Statement::Enter | Statement::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Schema, Shape, Statement};

    #[test]
    fn a_split_name_is_written_in_parts_and_read_as_one() {
        let mut schema = Schema::users();
        schema.after = Some(Shape {
            name: "first || ' ' || last".to_owned(),
            columns: vec![
                Column::new("first", "split_part({name}, ' ', 1)"),
                Column::new("last", "split_part({name}, ' ', 2)"),
                Column::new("email", "{email}"),
            ],
            ..Shape::users("after")
        });

        let sql = schema.sql(schema.shape(1), Statement::Update);

        assert!(sql.contains("first = split_part($2::text, ' ', 1)"), "{sql}");
        assert!(sql.contains("hashtext((first || ' ' || last)::text)"), "{sql}");
    }

    #[test]
    fn a_key_of_several_columns_is_written_in_parts_and_found_by_its_number() {
        let shape = Shape {
            key: "(no)".to_owned(),
            identity: vec![Column::new("tenant", "abs({key} % 7)"), Column::new("no", "{key}")],
            ..Shape::users("before")
        };
        let schema = Schema { before: shape, ..Schema::users() };

        let sql = schema.sql(&schema.before, Statement::UpdateKey);

        let expected = "SET tenant = abs($2::int8 % 7), no = $2::int8 WHERE (no) = $1::int8";
        assert!(sql.contains(expected), "{sql}");
        let sql = schema.sql(&schema.before, Statement::Refill);
        assert!(sql.contains("ON CONFLICT (tenant, no)"), "{sql}");
    }

    #[test]
    fn every_statement_uses_all_its_parameters() {
        let schema = Schema::users();
        for statement in Statement::ALL {
            let sql = schema.sql(&schema.before, statement);
            let types = statement.parameters();
            for (index, type_name) in types.iter().enumerate() {
                let parameter = format!("${}::{type_name}", index + 1);
                assert!(sql.contains(&parameter), "{parameter} is not in {sql}");
            }
            assert!(!sql.contains(&format!("${}", types.len() + 1)), "{sql}");
        }
    }
}
