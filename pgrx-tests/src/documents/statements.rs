//! The statements of a block, each with the results that are shown for it.

use super::blocks::after_prompt;

/// The words that begin a message of the server.
const SEVERITIES: [&str; 6] = ["ERROR:", "WARNING:", "NOTICE:", "INFO:", "DETAIL:", "HINT:"];

/// A statement as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// The line of its block on which it begins, from 0.
    pub line: usize,
    /// Without the semicolon.
    pub sql: String,
    /// The rows, or what psql prints instead of them.
    pub rows: Vec<String>,
    /// The messages, a line each.
    pub messages: Vec<String>,
    /// Something that follows was left out: `…`.
    pub is_shortened: bool,
    /// Everything that psql prints is shown, so that no rows means that there are none.
    pub is_transcript: bool,
}

/// What came of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As psql prints them, or the command tag instead of them.
    pub rows: Vec<String>,
    /// As psql prints them, a line each.
    pub messages: Vec<String>,
}

impl Statement {
    fn show(&mut self, line: &str) {
        if line.trim() == "…" {
            self.is_shortened = true;
        } else if SEVERITIES.iter().any(|severity| line.starts_with(severity)) {
            self.messages.push(line.to_owned());
        } else {
            self.rows.push(line.to_owned());
        }
    }

    /// Why the outcome is not the one that is shown. Messages may be left out, but for errors.
    pub fn difference(&self, outcome: &Outcome) -> Option<String> {
        let plain = |lines: &[String]| lines.iter().map(|line| squeezed(line)).collect::<Vec<_>>();
        let (shown, came) = (plain(&self.messages), plain(&outcome.messages));
        let mut rest = came.iter();
        for message in &shown {
            if !rest.any(|came| is_like(message, came)) {
                return Some(format!("no message {message:?}, but {came:?}"));
            }
        }
        let error = came.iter().find(|message| message.starts_with("ERROR:"));
        if let Some(error) = error
            && !shown.iter().any(|message| is_like(message, error))
        {
            return Some(format!("{came:?}"));
        }
        let (shown, came) = (plain(&self.rows), plain(&outcome.rows));
        let is_checked = self.is_transcript || !shown.is_empty();
        let is_right = shown == came || self.is_shortened && came.starts_with(&shown);
        (is_checked && !is_right).then(|| format!("shown {shown:?}, came {came:?}"))
    }
}

/// With one blank for each white space.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a message is the one that is shown. How far a deployment has come when it reports its
/// progress depends on the machine.
fn is_like(shown: &str, came: &str) -> bool {
    match (shown.split_once(" ["), came.split_once(" [")) {
        (Some((begin, rest)), Some((other, other_rest))) => {
            let is_bar = |rest: &str| {
                let bar = rest.split_once("] ").filter(|(_, rest)| rest.contains('%'));
                bar.is_some_and(|(bar, _)| bar.chars().all(|c| matches!(c, '#' | '.')))
            };
            // The table's name, and then the phase.
            let table = |begin: &str| begin.rsplit_once(' ').map(|(table, _)| table.to_owned());
            let same = table(begin) == table(other);
            shown == came || same && is_bar(rest) && is_bar(other_rest)
        }
        _ => shown == came,
    }
}

/// The statements of a block of SQL. Comments behind a statement show its results: `--  ` is a row, as
/// psql begins it with a blank; `-- ERROR: ` and the like are messages; `-- …` is the rest.
pub fn of_sql(text: &str) -> Result<Vec<Statement>, String> {
    let mut found: Vec<Statement> = Vec::new();
    let mut begun: Option<Statement> = None;
    let mut scan = Scan::default();
    for (number, line) in text.lines().enumerate() {
        let is_comment = begun.is_none() && line.starts_with("--");
        if is_comment {
            let shown = line.strip_prefix("-- ").unwrap_or_default();
            let is_result = shown.starts_with(' ')
                || shown.trim() == "…"
                || SEVERITIES.iter().any(|severity| shown.starts_with(severity));
            if is_result {
                found.last_mut().ok_or("a result before any statement")?.show(shown);
            }
            continue;
        }
        for piece in scan.pieces(line) {
            match piece {
                Piece::Text(text) if begun.is_none() && text.trim().is_empty() => {}
                Piece::Text(text) => {
                    let new = || Statement { line: number, ..Statement::default() };
                    begun.get_or_insert_with(new).sql.push_str(text);
                }
                Piece::End => found.extend(begun.take()),
            }
        }
        if let Some(statement) = &mut begun {
            statement.sql.push('\n');
        }
    }
    match begun {
        Some(statement) => Err(format!("no semicolon after {:?}", statement.sql.trim())),
        None => Ok(found),
    }
}

/// The statements of a session in psql, without headings.
pub fn of_transcript(text: &str) -> Result<Vec<Statement>, String> {
    let mut found: Vec<Statement> = Vec::new();
    let mut is_open = false;
    let mut scan = Scan::default();
    for (number, line) in text.lines().enumerate() {
        let Some(typed) = after_prompt(line) else {
            let last = found.last_mut().filter(|_| !is_open);
            last.ok_or(format!("neither typed nor a result: {line:?}"))?.show(line);
            continue;
        };
        for piece in scan.pieces(typed) {
            match piece {
                Piece::Text(text) if !is_open && text.trim().is_empty() => {}
                Piece::Text(text) => {
                    if !is_open {
                        let new = Statement::default();
                        found.push(Statement { line: number, is_transcript: true, ..new });
                    }
                    is_open = true;
                    if let Some(last) = found.last_mut() {
                        last.sql.push_str(text);
                    }
                }
                Piece::End => is_open = false,
            }
        }
        if let Some(last) = found.last_mut().filter(|_| is_open) {
            last.sql.push('\n');
        }
    }
    if is_open { Err("the last statement has no semicolon".to_owned()) } else { Ok(found) }
}

/// The statements in the texts of another language's source.
pub fn of_source(text: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    for (line, code) in text.lines().enumerate() {
        for sql in code.split('"').skip(1).step_by(2) {
            if sql.starts_with("SELECT ") || sql.starts_with("CALL ") {
                let sql = sql.to_owned();
                found.push(Statement { line, sql, ..Statement::default() });
            }
        }
    }
    found
}

/// Where a line of SQL is cut.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    End,
}

/// What is open at the end of a line: a literal, a quoted identifier, or a text between dollars.
#[derive(Debug, Default)]
struct Scan {
    open: Option<String>,
}

impl Scan {
    /// The line's statements, or parts of them, without comments.
    fn pieces<'a>(&mut self, line: &'a str) -> Vec<Piece<'a>> {
        let mut found = Vec::new();
        let (mut begin, mut at) = (0, 0);
        while let Some(c) = line[at..].chars().next() {
            let rest = &line[at..];
            if let Some(close) = &self.open {
                if rest.starts_with(close.as_str()) {
                    at += close.len();
                    self.open = None;
                } else {
                    at += c.len_utf8();
                }
            } else if rest.starts_with("--") {
                found.push(Piece::Text(line[begin..at].trim_end()));
                return found;
            } else if c == ';' {
                found.extend([Piece::Text(&line[begin..at]), Piece::End]);
                at += 1;
                begin = at;
            } else {
                self.open = opens(rest);
                at += self.open.as_ref().map_or(c.len_utf8(), String::len);
            }
        }
        found.push(Piece::Text(&line[begin..]));
        found
    }
}

/// What closes the literal that begins here, if one does.
fn opens(rest: &str) -> Option<String> {
    if rest.starts_with(['\'', '"']) {
        return Some(rest[..1].to_owned());
    }
    let tag = rest.strip_prefix('$')?;
    let (tag, _) = tag.split_once('$')?;
    let is_tag = !tag.starts_with(|c: char| c.is_ascii_digit())
        && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_tag.then(|| format!("${tag}$"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn texts(statements: &[Statement]) -> Vec<&str> {
        statements.iter().map(|statement| statement.sql.trim()).collect()
    }

    #[test]
    fn a_block_is_cut_at_semicolons_that_are_in_no_literal_and_no_comment() {
        let text =
            "SELECT ';', 'it''s;' AS \"a;\" -- no;\nFROM t; BEGIN;\n\nSELECT $x$;$$;$x$, $1;\n";

        let found = of_sql(text).unwrap();

        let expected = ["SELECT ';', 'it''s;' AS \"a;\"\nFROM t", "BEGIN", "SELECT $x$;$$;$x$, $1"];
        assert_eq!(texts(&found), expected);
        assert_eq!(found.iter().map(|s| s.line).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(of_sql("SELECT 1").is_err());
    }

    #[test]
    fn results_are_told_from_other_comments() {
        let text = "SELECT 1;   -- one\n--  1\n-- ERROR:  x\n-- …\n-- days later\nSELECT 2;\n";

        let found = of_sql(text).unwrap();

        assert_eq!(found[0].rows, [" 1"]);
        assert_eq!(found[0].messages, ["ERROR:  x"]);
        assert!(found[0].is_shortened);
        assert!(found[1].rows.is_empty() && !found[1].is_shortened);
    }

    #[test]
    fn a_transcript_has_its_statements_and_everything_that_was_printed() {
        let text =
            "shop=> SELECT 1    -- c\nshop-> , 2;\nNOTICE:  n\n 1 | 2\nshop=# BEGIN;\nBEGIN\n";

        let found = of_transcript(text).unwrap();

        assert_eq!(texts(&found), ["SELECT 1\n, 2", "BEGIN"]);
        assert_eq!(
            (&found[0].rows, &found[0].messages),
            (&vec![" 1 | 2".to_owned()], &vec!["NOTICE:  n".to_owned()],)
        );
        assert_eq!(found[1].rows, ["BEGIN"]);
        assert!(of_transcript("text\n").is_err());
    }

    #[test]
    fn the_calls_in_another_language_are_its_texts() {
        let text = "  sql=[\n    \"SELECT bg_x('a')\",\n    \"CALL b\", \"other\"],\n";
        assert_eq!(texts(&of_source(text)), ["SELECT bg_x('a')", "CALL b"]);
    }

    /// Shown results of a statement beside what came.
    fn difference(shown: &str, rows: &[&str], messages: &[&str]) -> Option<String> {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let outcome = Outcome { rows: owned(rows), messages: owned(messages) };
        of_sql(&format!("SELECT 1;\n{shown}")).unwrap()[0].difference(&outcome)
    }

    #[test]
    fn rows_that_are_shown_must_come_and_no_others() {
        assert_eq!(difference("", &["1"], &[]), None);
        assert_eq!(difference("--   1 | a\n--  2 |", &["1 | a", "2 | "], &[]), None);
        assert_eq!(difference("--  1\n-- …\n", &["1", "2"], &[]), None);
        assert!(difference("--  1\n", &["2"], &[]).is_some());
        assert!(difference("--  1\n", &["1", "2"], &[]).is_some());
        assert!(difference("--  1\n", &[], &[]).is_some());
    }

    #[test]
    fn an_error_must_be_shown_and_what_is_shown_must_come() {
        let error = ["NOTICE:  n", "ERROR:  e", "DETAIL:  d", "HINT:  h"];
        assert_eq!(difference("-- ERROR: e\n-- HINT: h\n", &[], &error), None);
        assert_eq!(difference("", &[], &["NOTICE:  n"]), None);
        assert!(difference("", &[], &error).is_some());
        assert!(difference("-- DETAIL: d\n", &[], &error).is_some());
        assert!(difference("-- ERROR: other\n", &[], &error).is_some());
        assert!(difference("-- ERROR: e\n", &[], &[]).is_some());
    }

    #[test]
    fn progress_is_the_same_wherever_it_stands() {
        let shown = "-- NOTICE: public.t copying [##..] 50%, 3 s left\n";
        let came = "NOTICE:  public.t prepared [....] 0%";
        assert_eq!(difference(shown, &[], &[came]), None);
        assert!(difference(shown, &[], &["NOTICE:  public.u prepared [....] 0%"]).is_some());
        assert!(difference(shown, &[], &["NOTICE:  public.t prepared [x] 0%"]).is_some());
    }
}
