//! Text for people: tables with aligned columns, bytes and durations in units one can read.

use std::time::Duration;

/// Rows under a header, columns aligned.
#[derive(Debug)]
pub(crate) struct Grid {
    header: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A column whose name begins with `>` is aligned to the right.
    pub(crate) fn new(header: &[&str]) -> Self {
        let right = header.iter().map(|name| name.starts_with('>')).collect();
        let header = header
            .iter()
            .map(|name| name.trim_start_matches('>').to_owned())
            .collect();
        Self {
            header,
            right,
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
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([self.header[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let mut text = String::new();
        for row in [&self.header].into_iter().chain(&self.rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .zip(&self.right)
                .map(|((cell, width), right)| {
                    let blanks = " ".repeat(width - cell.chars().count());
                    if *right {
                        format!("{blanks}{cell}")
                    } else {
                        format!("{cell}{blanks}")
                    }
                });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// The beginning of a text that would make a table too wide.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}..", text[..end].trim_end()),
    }
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

/// `1 file`, `2 files`; `branch or tag` becomes `branches or tags`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    let plural = |word: &str| match word {
        "or" => word.to_owned(),
        "expiry" => "expiries".to_owned(),
        word if word.ends_with("ch") => format!("{word}es"),
        word => format!("{word}s"),
    };
    let words: Vec<String> = noun.split(' ').map(plural).collect();
    format!("{} {}", count(number), words.join(" "))
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
    fn long_texts_are_cut_between_characters() {
        assert_eq!([cut("größe", 5), cut("größe", 3)], ["größe", "grö.."]);
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
                counted(2, "branch or tag")
            ],
            ["1 file", "0 files", "2 branches or tags"]
        );
        assert_eq!([times(1), times(2)], ["once", "2 times"]);
        assert_eq!([share(1, 3), share(0, 0)], ["33.3%", "-"]);
        assert_eq!(
            [400, 65_000, 3_725_000, 5 * 86_400_000].map(|ms| seconds(Duration::from_millis(ms))),
            ["0.4 s", "1 min 5 s", "1 h 2 min", "5 days"]
        );
    }
}
