//! The server's scanner: where the tokens of a text are.

use super::raw::{self, Place};
use super::settings::Settings;
use crate::error::Result;
use pgrx::pg_sys;
use std::ffi::CStr;

/// One token, comments and white space left out.
pub(super) struct Token {
    /// First byte in the text.
    pub(super) start: usize,
    /// The byte behind its last.
    pub(super) end: usize,
    /// The scanner's code: a character's own code, or more than 255.
    code: i32,
}

impl Token {
    /// Whether it is this single character.
    pub(super) fn is(&self, character: char) -> bool {
        u32::try_from(self.code) == Ok(u32::from(character))
    }

    /// Whether it is a word, string or number, no punctuation.
    pub(super) fn is_word(&self) -> bool {
        self.code > 255
    }

    /// Whether it is this key word of `text`; a quoted name is none.
    pub(super) fn is_keyword(&self, text: &str, word: &str) -> bool {
        text.get(self.start..self.end).is_some_and(|t| t.eq_ignore_ascii_case(word))
    }
}

/// The tokens of `text`, which messages call `what`.
///
/// # Errors
/// What the server's scanner refuses, such as an unterminated string, with its place.
pub(super) fn scan(text: &str, what: &str) -> Result<Vec<Token>> {
    let source = raw::c_string(text, what)?;
    raw::located(&Place::whole(what), || tokens(&source))
}

fn tokens(source: &CStr) -> Vec<Token> {
    // The parser reads the same text again, and then gives its notices.
    let _quiet = Settings::set(&[(c"client_min_messages", c"error")]);
    let mut tokens = Vec::new();
    let mut extra = pg_sys::core_yy_extra_type::default();
    let mut value = pg_sys::core_YYSTYPE::default();
    let mut at = 0;
    // SAFETY: `source` is terminated and is copied to `extra.scanbuf`; the two keyword tables are
    // the server's constants. `extra` neither moves nor goes before the scanner's end. The scanner
    // puts a NUL behind the token that it has just returned, which starts at `at` in its buffer
    // (plpgsql's pl_scanner.c reads the length in this way).
    unsafe {
        let scanner = pg_sys::scanner_init(
            source.as_ptr(),
            &mut extra,
            &raw const pg_sys::ScanKeywords,
            (&raw const pg_sys::ScanKeywordTokens).cast(),
        );
        extra.escape_string_warning = false;
        loop {
            let code = pg_sys::core_yylex(&mut value, &mut at, scanner);
            if code == 0 {
                break;
            }
            let start = usize::try_from(at).unwrap_or_default();
            let length = CStr::from_ptr(extra.scanbuf.add(start)).count_bytes();
            tokens.push(Token { start, end: start + length, code });
        }
        pg_sys::scanner_finish(scanner);
    }
    tokens
}
