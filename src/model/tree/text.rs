//! The text in which the server keeps a tree (`pg_node_tree`), read into nodes and their fields.
//!
//! Source: `outfuncs.c`, `read.c` (`pg_strtok`).

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// `<>`.
    Nothing,
    /// A number, a name, a truth value; as written.
    Word(&'a str),
    /// The bytes of a constant: numbers, as written.
    Datum(Vec<&'a str>),
    /// A node.
    Node(Node<'a>),
    /// A list of any of them.
    List(Vec<Value<'a>>),
}

/// A node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    /// Its tag.
    pub(super) tag: &'a str,
    /// Its fields, in their order.
    pub(super) fields: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Node<'a> {
    /// A field.
    pub(super) fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// A field that is a word.
    pub(super) fn word(&self, name: &str) -> Option<&'a str> {
        match self.field(name) {
            Some(Value::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// A field that is a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.word(name)?.parse().ok()
    }

    /// A field that is a node.
    pub(super) fn node(&self, name: &str) -> Option<&Node<'a>> {
        match self.field(name) {
            Some(Value::Node(node)) => Some(node),
            _ => None,
        }
    }
}

/// Reads one value to the text's end; None where it has another form.
pub(super) fn read(text: &str) -> Option<Value<'_>> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value()?;
    reader.token().is_none().then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next token, which stays to be read.
    fn peek(&mut self) -> Option<&'a str> {
        let before = self.at;
        let token = self.token();
        self.at = before;
        token
    }

    /// A parenthesis, a brace, or everything up to one or to a space; a backslash takes the next
    /// character with it.
    fn token(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let is_space = |b: u8| matches!(b, b' ' | b'\n' | b'\t');
        while self.at < bytes.len() && is_space(bytes[self.at]) {
            self.at += 1;
        }
        let start = self.at;
        let is_single = |b: u8| matches!(b, b'(' | b')' | b'{' | b'}');
        if is_single(*bytes.get(start)?) {
            self.at += 1;
        } else {
            while self.at < bytes.len() && !is_space(bytes[self.at]) && !is_single(bytes[self.at]) {
                self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
            }
            self.at = self.at.min(bytes.len());
        }
        self.text.get(start..self.at)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.token()? {
            "<>" => Some(Value::Nothing),
            "{" => self.node().map(Value::Node),
            "(" => self.list().map(Value::List),
            ")" | "}" => None,
            word => self.word(word),
        }
    }

    /// A word, or the length of a constant and its bytes.
    fn word(&mut self, word: &'a str) -> Option<Value<'a>> {
        if self.peek() != Some("[") {
            return Some(Value::Word(word));
        }
        self.token();
        let mut bytes = vec![word];
        loop {
            match self.token()? {
                "]" => return Some(Value::Datum(bytes)),
                byte => bytes.push(byte),
            }
        }
    }

    fn list(&mut self) -> Option<Vec<Value<'a>>> {
        let mut list = Vec::new();
        while self.peek()? != ")" {
            list.push(self.value()?);
        }
        self.token();
        Some(list)
    }

    fn node(&mut self) -> Option<Node<'a>> {
        let tag = self.token()?;
        let mut fields = Vec::new();
        loop {
            match self.token()? {
                "}" => return Some(Node { tag, fields }),
                // A field has exactly one value: a name that looks like a field is none.
                name => fields.push((name.strip_prefix(':')?, self.value()?)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read() {
        let text = "({A :x <> :name \\(a\\ \\\\ :y (i 1 2) :value 4 [ 1 0 -1 0 ] :n {B :z \"q\"}})";
        let Some(Value::List(list)) = read(text) else { unreachable!("no list") };
        let [Value::Node(node)] = list.as_slice() else { unreachable!("no node") };
        assert_eq!(node.tag, "A");
        assert_eq!(node.field("x"), Some(&Value::Nothing));
        assert_eq!(node.word("name"), Some("\\(a\\ \\\\"));
        let numbers = ["i", "1", "2"].map(Value::Word).into();
        assert_eq!(node.field("y"), Some(&Value::List(numbers)));
        assert_eq!(node.field("value"), Some(&Value::Datum(vec!["4", "1", "0", "-1", "0"])));
        assert_eq!(node.node("n").map(|n| n.tag), Some("B"));
    }

    #[test]
    fn a_name_that_looks_like_a_field_is_a_value() {
        let text = "{A :aliasname :relid :relid 5}";
        let Some(Value::Node(node)) = read(text) else { unreachable!("no node") };
        assert_eq!(node.word("aliasname"), Some(":relid"));
        assert_eq!(node.number::<u32>("relid"), Some(5));
    }

    #[test]
    fn what_is_cut_or_goes_on_is_refused() {
        for text in ["{A :x", "{A :x 1} {B}", "(", "{A x}", "{A :v 4 [ 1 2", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
