//! The blocks of code in a document, and how each is marked for the test that runs them.
//!
//! A mark is an HTML comment on a line of its own, directly before the block:
//!
//! - `<!-- session: NAME -->` runs the block in a new database, which `pgrx-tests/sessions/NAME.sql` has
//!   filled;
//! - `<!-- continued -->` runs it in the session of the block before it;
//! - `<!-- declaration -->` compares it with the functions as the server knows them;
//! - `<!-- not run: REASON -->` does not run it.

use super::links::lines;

/// What is to be done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It begins a session in a new database, which this file has filled.
    Session(String),
    /// It goes on in the session of the block before it.
    Continued,
    /// It declares functions.
    Declaration,
    /// It is not run, for this reason.
    NotRun(String),
}

/// A block between fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of the document on which its text begins.
    pub line: usize,
    /// What stands behind the fence; often nothing.
    pub language: String,
    /// What stands between the fences.
    pub text: String,
    /// How it is marked.
    pub mark: Option<Mark>,
}

impl Block {
    /// Whether it shows calls of ours or SQL, so that it has to have a mark.
    pub fn needs_mark(&self) -> bool {
        self.language == "sql"
            || self.text.contains("bg_")
            || self.text.lines().any(|line| after_prompt(line).is_some())
    }
}

/// What is typed behind psql's prompt, where the line has one.
pub fn after_prompt(line: &str) -> Option<&str> {
    let (database, rest) = line.split_at(line.find(['=', '-'])?);
    let is_name = !database.is_empty() && database.chars().all(|c| c.is_alphanumeric() || c == '_');
    let rest = rest.strip_prefix(['=', '-']).filter(|_| is_name)?;
    rest.strip_prefix("> ").or_else(|| rest.strip_prefix("# "))
}

/// The blocks of a document, and what is wrong with their marks, as `line: why`.
pub fn blocks(text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut found, mut faults) = (Vec::<Block>::new(), Vec::new());
    let mut open: Option<Block> = None;
    let mut comment = None;
    let mut before = "";
    for (at, (line, fenced)) in lines(text).enumerate() {
        let number = at + 1;
        if let Some(language) = line.trim_start().strip_prefix("```").filter(|_| fenced) {
            if let Some(block) = open.take() {
                found.push(block);
            } else {
                let mark = match comment.take().map(mark) {
                    Some(Err(why)) => {
                        faults.push(format!("{number}: {why}"));
                        None
                    }
                    Some(Ok(mark)) => Some(mark),
                    None => None,
                };
                let language = language.trim().to_owned();
                open = Some(Block { line: number + 1, language, text: String::new(), mark });
            }
        } else if let Some(block) = &mut open {
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            comment = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
            if before.trim().is_empty() && is_indented_sql(line) {
                faults.push(format!("{number}: SQL that is indented; put it between fences"));
            }
        }
        before = line;
    }
    (found, faults)
}

/// A mark from what stands in the comment.
fn mark(comment: &str) -> Result<Mark, String> {
    let comment = comment.trim();
    let (word, rest) = comment.split_once(':').unwrap_or((comment, ""));
    match (word, rest.trim()) {
        ("continued", "") => Ok(Mark::Continued),
        ("declaration", "") => Ok(Mark::Declaration),
        ("session", name) if !name.is_empty() => Ok(Mark::Session(name.to_owned())),
        ("not run", reason) if !reason.is_empty() => Ok(Mark::NotRun(reason.to_owned())),
        _ => Err(format!("not a mark of a block: {comment:?}")),
    }
}

/// Whether a line is a block of code by its indentation, and SQL.
fn is_indented_sql(line: &str) -> bool {
    let code = line.strip_prefix("    ").filter(|code| !code.starts_with(' '));
    let verb = code.and_then(|code| code.split_whitespace().next());
    verb.is_some_and(|verb| {
        ["ALTER", "BEGIN", "CALL", "CREATE", "DROP", "INSERT", "SELECT", "SET", "UPDATE"]
            .contains(&verb)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> Vec<Option<Mark>> {
        blocks(text).0.into_iter().map(|block| block.mark).collect()
    }

    #[test]
    fn a_block_has_its_line_its_language_and_the_mark_before_it() {
        let text = "# T\n\n<!-- session: users -->\n```sql\nSELECT 1;\n\nSELECT 2;\n```\n";

        let (found, faults) = blocks(text);

        let mark = Some(Mark::Session("users".to_owned()));
        let block = Block {
            line: 5,
            language: "sql".to_owned(),
            text: "SELECT 1;\n\nSELECT 2;\n".to_owned(),
            mark,
        };
        assert_eq!((found, faults), (vec![block], Vec::new()));
    }

    #[test]
    fn each_kind_of_mark_is_known_and_any_other_comment_is_a_fault() {
        let text = "<!-- continued -->\n```\na\n```\n<!-- declaration -->\n```\nb\n```\n\
            <!-- not run: needs pg_cron -->\n```\nc\n```\n<!-- session: x -->\n\n```\nd\n```\n";
        let reason = "needs pg_cron".to_owned();
        let expected =
            [Some(Mark::Continued), Some(Mark::Declaration), Some(Mark::NotRun(reason)), None];
        assert_eq!(marks(text), expected);

        for wrong in ["not run", "not run:", "session:", "sesion: users", "continued: x"] {
            let (_, faults) = blocks(&format!("<!-- {wrong} -->\n```\n```\n"));
            assert_eq!(faults, [format!("2: not a mark of a block: {wrong:?}")]);
        }
    }

    #[test]
    fn blocks_with_sql_or_calls_or_prompts_need_a_mark() {
        let block = |text: &str| blocks(text).0.remove(0).needs_mark();
        assert!(block("```sql\nVACUUM;\n```\n"));
        assert!(block("```python\nf(\"CALL bg_run('t')\")\n```\n"));
        assert!(block("```\nshop=> VACUUM;\n```\n"));
        assert!(!block("```\ncargo shell\n```\n"));
        assert!(!block("```\na-b=> c\nCFLAGS='-O1 -g'\n```\n"));
    }

    #[test]
    fn sql_that_is_only_indented_is_a_fault() {
        let (_, faults) = blocks("Text:\n\n    SET a = 1;\n    SET b = 2;\n\n    other\n");
        assert_eq!(faults, ["3: SQL that is indented; put it between fences"]);
    }
}
