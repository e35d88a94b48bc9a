//! Text for people: tables with aligned columns, bytes and durations in units one can read.

use std::io;
use std::time::Duration;

/// A folded column that would be narrower gets lines of its own.
const FOLDED_MIN: usize = 40;
/// In front of them.
const INDENT: usize = 6;

/// Rows under a header, columns aligned.
#[derive(Debug)]
pub(crate) struct Grid {
    header: Vec<String>,
    right: Vec<bool>,
    folds: bool,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A column whose name begins with `>` is aligned to the right. A last one whose name begins
    /// with `~` holds sentences: they are folded where the terminal ends.
    pub(crate) fn new(header: &[&str]) -> Self {
        let right = header.iter().map(|name| name.starts_with('>')).collect();
        let folds = header.last().is_some_and(|name| name.starts_with('~'));
        let header = header
            .iter()
            .map(|name| name.trim_start_matches(['>', '~']).to_owned())
            .collect();
        Self {
            header,
            right,
            folds,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// The lines, without trailing blanks; each ends with a newline.
    pub(crate) fn render(&self) -> String {
        self.within(columns())
    }

    /// As [`Self::render`], for a terminal of so many columns, or for none.
    pub(crate) fn within(&self, columns: Option<usize>) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([self.header[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let too_wide = |columns: &usize| self.folds && *columns < before + widths[widths.len() - 1];
        let columns = columns.filter(too_wide);
        let mut text = String::new();
        for row in [&self.header].into_iter().chain(&self.rows) {
            let line = self.line(row, &widths);
            match columns {
                Some(columns) => {
                    let (cells, last) = line.split_at(byte_of(&line, before));
                    text.push_str(&folded(cells, last, before, columns));
                }
                None => text.push_str(line.trim_end()),
            }
            text.push('\n');
        }
        text
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row
            .iter()
            .zip(widths)
            .zip(&self.right)
            .map(|((cell, width), right)| {
                let blanks = " ".repeat(width - cell.chars().count());
                if *right {
                    format!("{blanks}{cell}")
                } else {
                    format!("{cell}{blanks}")
                }
            });
        cells.collect::<Vec<_>>().join("  ")
    }
}

/// How wide the terminal is; `None` when standard output is none.
pub(crate) fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0))
}

/// A row whose last cell goes on below itself, or on lines of its own where there is no room.
fn folded(cells: &str, last: &str, before: usize, columns: usize) -> String {
    let beside = before + FOLDED_MIN <= columns;
    let indent = if beside { before } else { INDENT };
    let lines = fold(last, columns.saturating_sub(indent));
    let text = lines.join(&format!("\n{}", " ".repeat(indent)));
    match text.as_str() {
        "" => cells.trim_end().to_owned(),
        text if beside => format!("{cells}{text}"),
        text => format!("{}\n{}{text}", cells.trim_end(), " ".repeat(indent)),
    }
}

/// The words of `text` in lines of `width` characters; a longer word has a line of its own.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where the character at `place` begins.
fn byte_of(text: &str, place: usize) -> usize {
    let at = text.char_indices().nth(place);
    at.map_or(text.len(), |(at, _)| at)
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 data files`; `branch or tag` becomes `branches or tags`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    let plural = |noun: &str| match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with("ch") => format!("{noun}es"),
        None => format!("{noun}s"),
    };
    let nouns: Vec<String> = noun.split(" or ").map(plural).collect();
    format!("{} {}", count(number), nouns.join(" or "))
}

/// `once`, `2 times`.
pub(crate) fn times(number: u64) -> String {
    if number == 1 {
        "once".to_owned()
    } else {
        format!("{} times", count(number))
    }
}

/// `12.3 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `93.5%`; a share of nothing is `-`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".to_owned()
    } else {
        format!("{:.1}%", part as f64 * 100.0 / whole as f64)
    }
}

/// `0.4 s`, `1 min 5 s`, `24 h 0 min`, `5 days`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else if whole < 2 * 86_400 || !whole.is_multiple_of(86_400) {
        format!("{} h {} min", whole / 3600, whole % 3600 / 60)
    } else {
        format!("{} days", whole / 86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_go_right() {
        let mut grid = Grid::new(&["TABLE", ">FILES", ">BYTES"]);
        grid.row(["db.a", "7", "1.0 KiB"]);
        grid.row(["db.größer", "1,200", "-"]);
        assert_eq!(
            grid.render(),
            "TABLE      FILES    BYTES\n\
             db.a           7  1.0 KiB\n\
             db.größer  1,200        -\n"
        );
    }

    #[test]
    fn sentences_are_folded_where_the_terminal_ends() {
        let why = "12 of 12 data files are small and lie in größeren partitions";
        let mut grid = Grid::new(&["TABLE", ">FILES", "~WHY"]);
        grid.row(["db.größer", "12", why]);
        grid.row(["db.a", "1,200", ""]);
        let whole = format!(
            "TABLE      FILES  WHY\n\
             db.größer     12  {why}\n\
             db.a       1,200\n"
        );
        assert_eq!(grid.within(None), whole, "no terminal");
        assert_eq!(grid.within(Some(78)), whole, "wide enough");
        assert_eq!(
            grid.within(Some(60)),
            "TABLE      FILES  WHY\n\
             db.größer     12  12 of 12 data files are small and lie in\n\
             \u{20}                 größeren partitions\n\
             db.a       1,200\n"
        );
        assert_eq!(
            grid.within(Some(50)),
            "TABLE      FILES\n\
             \u{20}     WHY\n\
             db.größer     12\n\
             \u{20}     12 of 12 data files are small and lie in\n\
             \u{20}     größeren partitions\n\
             db.a       1,200\n"
        );
        assert_eq!(fold("a-very-long-word b", 3), ["a-very-long-word", "b"]);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(u64::MAX)],
            ["0 B", "1023 B", "1.5 KiB", "16384.0 PiB"]
        );
        assert_eq!(
            [
                counted(1, "file"),
                counted(0, "file"),
                counted(0, "data file"),
                counted(2, "earlier expiry"),
                counted(2, "branch or tag")
            ],
            [
                "1 file",
                "0 files",
                "0 data files",
                "2 earlier expiries",
                "2 branches or tags"
            ]
        );
        assert_eq!([times(1), times(2)], ["once", "2 times"]);
        assert_eq!([share(1, 3), share(0, 0)], ["33.3%", "-"]);
        assert_eq!(
            [400, 65_000, 3_725_000, 5 * 86_400_000].map(|ms| seconds(Duration::from_millis(ms))),
            ["0.4 s", "1 min 5 s", "1 h 2 min", "5 days"]
        );
    }
}
