//! In which way a writer sends its statements. Each way has its own plan cache, and each must land
//! in the new table after a swap.

use postgres::types::ToSql;

/// In which way a writer sends its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// As text with literals, planned each time.
    Simple,
    /// Prepared once in a session.
    Prepared,
    /// A PL/pgSQL function per statement, whose plans the session keeps.
    Function,
}

impl Voice {
    /// All of them.
    pub const ALL: [Voice; 3] = [Voice::Simple, Voice::Prepared, Voice::Function];
}

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A number.
    Int(i64),
    /// Keys.
    Ints(&'a [i64]),
    /// Text or NULL.
    Text(Option<&'a str>),
}

impl Value<'_> {
    /// The value as a literal without a type.
    fn literal(self) -> String {
        match self {
            Value::Int(n) => format!("'{n}'"),
            Value::Ints(list) => {
                let list: Vec<String> = list.iter().map(i64::to_string).collect();
                format!("'{{{}}}'", list.join(","))
            }
            Value::Text(None) => "NULL".to_owned(),
            Value::Text(Some(text)) => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// The value as the driver takes it.
    pub fn parameter(&self) -> Box<dyn ToSql + Sync> {
        match *self {
            Value::Int(n) => Box::new(n),
            Value::Ints(list) => Box::new(list.to_vec()),
            Value::Text(text) => Box::new(text.map(str::to_owned)),
        }
    }
}

/// The statement with literals for `$1` …; needs standard_conforming_strings, the default.
pub fn with_literals(sql: &str, values: &[Value<'_>]) -> String {
    // From the last one down, in one pass over pieces: a value may hold `$1` itself.
    let mut text = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let digits: String = rest[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        rest = &rest[at + 1 + digits.len()..];
        let index: usize = digits.parse().unwrap_or_default();
        match index.checked_sub(1).and_then(|index| values.get(index)) {
            Some(value) => text.push_str(&value.literal()),
            None => {
                text.push('$');
                text.push_str(&digits);
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::{Value, with_literals};

    #[test]
    fn literals_stand_where_the_parameters_stood() {
        let sql = "UPDATE t SET a = $2::text WHERE id = ANY ($1::int8[])";

        let text = with_literals(sql, &[Value::Ints(&[3, 5]), Value::Text(Some("it's $1"))]);

        assert_eq!(text, "UPDATE t SET a = 'it''s $1'::text WHERE id = ANY ('{3,5}'::int8[])");
    }
}
