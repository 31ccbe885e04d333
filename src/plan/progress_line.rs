//! How a deployment stands, in one line of a terminal.

use crate::model::phase::Phase;

/// Columns of a line.
const COLUMNS: usize = 110;
/// Columns of the table's name that are never given up for anything else.
const NAME: usize = 24;
/// Columns of what it waits for.
const WHY: usize = 36;
/// What stands for what is left out: also in encodings that have no character for it.
const CUT: &str = "..";
/// Parts of the bar.
const BAR: usize = 20;

/// How it stands.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    /// The table, as people write it.
    pub table: &'a str,
    /// Its phase.
    pub phase: Phase,
    /// 0 to 1.
    pub progress: f64,
    /// What is done, or whether anything is.
    pub doing: Option<String>,
    /// Rows in a second.
    pub rate: Option<i64>,
    /// Seconds to ready.
    pub left: Option<f64>,
    /// Changes that wait.
    pub pending: i64,
    /// Misfits.
    pub misfits: i64,
    /// Seconds since the last complete sync.
    pub lag: Option<f64>,
    /// What it waits for.
    pub waits_for: Option<&'a str>,
}

impl Line<'_> {
    /// The line; `columns` says how wide a character is shown.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn text(&self, columns: impl Fn(char) -> usize) -> String {
        let share = self.progress.clamp(0.0, 1.0);
        let filled = (share * BAR as f64) as usize;
        let (bar, rest) = ("#".repeat(filled), ".".repeat(BAR - filled));
        let percent = (share * 100.0) as usize;
        let mut parts = vec![format!(" {} [{bar}{rest}] {percent}%", self.phase)];
        parts.extend(self.doing.clone());
        let why = self.waits_for.map(|why| cut(why, WHY, &columns));
        parts.extend(why.map(|why| format!("waits for {why}")));
        parts.extend(self.rate.map(|rate| format!("{rate} rows/s")));
        let is_awaited = matches!(self.phase, Phase::Copying | Phase::Indexing);
        parts.extend(match self.left {
            Some(left) => Some(format!("{} left", duration(left))),
            None => is_awaited.then(|| "end unknown".to_owned()),
        });
        let count = |n: i64, what: &str| (n > 0).then(|| format!("{n} {what}"));
        parts.extend(count(self.pending, "changes wait"));
        parts.extend(count(self.misfits, "misfits"));
        parts.extend(self.lag.map(|lag| format!("synced {} ago", duration(lag))));
        let tail = parts.join(", ");
        let taken = tail.chars().map(&columns).sum::<usize>();
        let name = cut(self.table, COLUMNS.saturating_sub(taken).max(NAME), &columns);
        cut(&format!("{name}{tail}"), COLUMNS, &columns)
    }
}

/// A text in one line and at most so many columns.
fn cut(text: &str, most: usize, columns: impl Fn(char) -> usize) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    let text: String = text.chars().map(shown).collect();
    if text.chars().map(&columns).sum::<usize>() <= most {
        return text;
    }
    let mut left = most.saturating_sub(CUT.len());
    let fits = |c: &char| {
        let width = columns(*c);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let begin: String = text.chars().take_while(fits).collect();
    format!("{begin}{CUT}")
}

/// A time in words, never none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn duration(seconds: f64) -> String {
    let s = seconds.max(1.0).round() as u64;
    if s >= 86_400 {
        format!("{} d {} h", s / 86_400, s % 86_400 / 3600)
    } else if s >= 3600 {
        format!("{} h {} min", s / 3600, s % 3600 / 60)
    } else if s >= 60 {
        format!("{} min {} s", s / 60, s % 60)
    } else {
        format!("{s} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(c: char) -> usize {
        if u32::from(c) > 0x2e80 { 2 } else { 1 }
    }

    fn width(text: &str) -> usize {
        text.chars().map(columns).sum()
    }

    fn line(table: &str) -> Line<'_> {
        Line {
            table,
            phase: Phase::Copying,
            progress: 0.413,
            doing: None,
            rate: Some(823_000),
            left: Some(4325.0),
            pending: 12,
            misfits: 0,
            lag: None,
            waits_for: None,
        }
    }

    #[test]
    fn a_line_has_all_that_is_known() {
        assert_eq!(
            line("public.users").text(columns),
            "public.users copying [########............] 41%, 823000 rows/s, 1 h 12 min left, 12 changes wait"
        );
        let ready = Line {
            phase: Phase::Ready,
            progress: 1.0,
            rate: None,
            left: None,
            lag: Some(61.0),
            pending: 0,
            ..line("public.users")
        };
        assert_eq!(
            ready.text(columns),
            "public.users ready [####################] 100%, synced 1 min 1 s ago"
        );
    }

    #[test]
    fn an_end_that_is_not_known_is_not_zero() {
        let unknown = Line { left: None, ..line("t") };
        assert!(unknown.text(columns).contains(", end unknown"));
        let soon = Line { left: Some(0.0), ..line("t") };
        assert!(soon.text(columns).contains(", 1 s left"));
    }

    #[test]
    fn whatever_the_names_it_is_one_line_of_110_columns() {
        let wide = format!("\"{0}\".\"{0}\"", "表".repeat(21));
        let text = line(&wide).text(columns);
        assert!(
            width(&text) <= COLUMNS && text.contains("copying [") && text.contains(" left"),
            "{text}"
        );
        let why = "free space on the volume of the tablespace ".repeat(4);
        let long = Line { waits_for: Some(&why), misfits: 3, lag: Some(9.0), ..line(&wide) };
        let text = long.text(columns);
        assert!(
            width(&text) <= COLUMNS
                && text.contains("copying [")
                && text.contains("waits for free"),
            "{text}"
        );
        let text = line("public.\"a\nb\tc\"").text(columns);
        assert!(text.starts_with("public.\"a?b?c\" copying"), "{text}");
    }
}
