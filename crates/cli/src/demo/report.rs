//! What the demo says at its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::event::Fingerprint;
use crate::facts::Facts;
use crate::print::{self, Grid};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) before: Side,
    pub(crate) after: Side,
    pub(crate) writer: Meanwhile,
    /// Jobs with their actions, as `snowpack job` prints them.
    pub(crate) jobs: Vec<Value>,
    pub(crate) took: Duration,
    /// Where the table is, when it was kept.
    pub(crate) kept: Option<Kept>,
}

/// What is left of the demo when asked for.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) folder: String,
    /// The table's current metadata file: what other programs read it by.
    pub(crate) metadata_location: String,
}

/// The rows that were there before maintenance began, and the files that hold them.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) facts: Facts,
    pub(crate) rows: Fingerprint,
}

/// What the writer committed while the job was there.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    pub(crate) commits: u64,
    pub(crate) files: u64,
    pub(crate) wrote: Fingerprint,
    pub(crate) read: Fingerprint,
}

impl Report {
    /// Why the table is not what it must be; `None` when it is.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.before.rows != self.after.rows {
            Some("the rows that were there before maintenance are not those that are there now")
        } else if self.writer.wrote != self.writer.read {
            Some("the rows the writer added meanwhile are not those that are there now")
        } else {
            None
        }
    }

    pub(crate) fn document(&self) -> Value {
        let (before, after, writer) = (&self.before, &self.after, &self.writer);
        json!({
            "success": self.fault().is_none(),
            "files_before": before.facts.files.data_files,
            "files_after": after.facts.files.data_files,
            "bytes_before": before.facts.files.bytes,
            "bytes_after": after.facts.files.bytes,
            "small_file_share_before": before.facts.files.small_file_share(),
            "small_file_share_after": after.facts.files.small_file_share(),
            "delete_files_before": before.facts.files.delete_files,
            "delete_files_after": after.facts.files.delete_files,
            "rows_before": before.rows.rows,
            "rows_after": after.rows.rows,
            "fingerprint_before": before.rows.text(),
            "fingerprint_after": after.rows.text(),
            "writer": {
                "commits": writer.commits,
                "files": writer.files,
                "rows_written": writer.wrote.rows,
                "rows_read": writer.read.rows,
                "fingerprint_written": writer.wrote.text(),
                "fingerprint_read": writer.read.text(),
            },
            "jobs": self.jobs,
            "seconds": self.took.as_secs_f64(),
            "kept": self.kept.as_ref().map(|kept| &kept.folder),
            "metadata_location": self.kept.as_ref().map(|kept| &kept.metadata_location),
        })
    }

    pub(crate) fn text(&self) -> String {
        let files = match &self.kept {
            Some(kept) => format!(
                "The table's files are in {}; other programs read it by\n{}",
                kept.folder, kept.metadata_location
            ),
            None => "Everything it made is gone; --keep DIR keeps the table's files.".to_owned(),
        };
        let lines = [
            String::new(),
            self.table().render(),
            self.verdict(),
            self.writer_verdict(),
            String::new(),
            self.jobs().render(),
            format!("Done in {}. {files}", print::seconds(self.took)),
            "Next: set SNOWPACK_DATABASE_URL, run `snowpack migrate`, then `snowpack tables`."
                .to_owned(),
            String::new(),
        ];
        let text = lines.join("\n").replace('\n', "\n  ");
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<&str>>()
            .join("\n")
            .trim_end()
            .to_owned()
            + "\n"
    }

    fn table(&self) -> Grid {
        let (before, after) = (&self.before, &self.after);
        let mut grid = Grid::new(&["", ">BEFORE", ">AFTER"]);
        let small = |facts: &Facts| print::share(facts.files.small_files, facts.files.data_files);
        grid.row([
            "data files".to_owned(),
            print::count(before.facts.files.data_files),
            print::count(after.facts.files.data_files),
        ]);
        grid.row([
            "bytes".to_owned(),
            print::bytes(before.facts.files.bytes),
            print::bytes(after.facts.files.bytes),
        ]);
        grid.row([
            "small files".to_owned(),
            small(&before.facts),
            small(&after.facts),
        ]);
        let deletes = |facts: &Facts| print::count(facts.files.delete_files);
        grid.row([
            "delete files".to_owned(),
            deletes(&before.facts),
            deletes(&after.facts),
        ]);
        grid.row([
            "rows".to_owned(),
            print::count(before.rows.rows),
            print::count(after.rows.rows),
        ]);
        grid.row([
            "fingerprint".to_owned(),
            short(&before.rows),
            short(&after.rows),
        ]);
        grid
    }

    fn verdict(&self) -> String {
        if self.before.rows == self.after.rows {
            format!(
                "✓ Not a row was lost, resurrected or changed: {}",
                self.after.rows.text()
            )
        } else {
            format!(
                "✗ The rows changed: {} became {}",
                self.before.rows.text(),
                self.after.rows.text()
            )
        }
    }

    fn writer_verdict(&self) -> String {
        let writer = &self.writer;
        let did = format!(
            "{} commits, {} files, {} rows",
            print::count(writer.commits),
            print::count(writer.files),
            print::count(writer.wrote.rows)
        );
        if writer.wrote == writer.read {
            format!(
                "✓ Meanwhile the writer went on ({did}), and all of it is there (not counted above)"
            )
        } else {
            format!(
                "✗ Of what the writer added meanwhile ({did}), {} rows are there",
                print::count(writer.read.rows)
            )
        }
    }

    fn jobs(&self) -> Grid {
        let mut grid = Grid::new(&["JOB", "STATUS", "ACTION", "OUTCOME", ">TOOK", "MESSAGE"]);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        for job in &self.jobs {
            let results = job["results"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            if results.is_empty() {
                grid.row([text(&job["job_id"]), text(&job["status"])]);
            }
            for result in results {
                let took =
                    Duration::from_secs_f64(result["elapsed_seconds"].as_f64().unwrap_or_default());
                grid.row([
                    text(&job["job_id"]),
                    text(&job["status"]),
                    text(&result["action"]),
                    text(&result["outcome"]),
                    print::seconds(took),
                    text(&result["message"]),
                ]);
            }
        }
        grid
    }
}

/// Enough to compare by eye; the verdict has it whole.
fn short(rows: &Fingerprint) -> String {
    rows.text()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use metadata::TableFacts;

    use super::*;
    use crate::demo::event::Event;

    fn rows(ids: std::ops::Range<i64>) -> Fingerprint {
        let mut rows = Fingerprint::default();
        ids.for_each(|id| rows.add(&Event::new(1, id, "asia")));
        rows
    }

    fn report(after: Fingerprint, read: Fingerprint) -> Report {
        let files = |data_files, small_files| Facts {
            files: TableFacts {
                data_files,
                small_files,
                ..TableFacts::default()
            },
            ..Facts::default()
        };
        Report {
            before: Side {
                facts: files(400, 400),
                rows: rows(0..5),
            },
            after: Side {
                facts: files(8, 0),
                rows: after,
            },
            writer: Meanwhile {
                commits: 1,
                files: 1,
                wrote: rows(5..7),
                read,
            },
            jobs: Vec::new(),
            took: Duration::from_secs(3),
            kept: None,
        }
    }

    #[test]
    fn equal_rows_are_a_success_and_every_difference_is_named() {
        let good = report(rows(0..5), rows(5..7));
        assert_eq!(
            (good.fault(), good.document()["success"].as_bool()),
            (None, Some(true))
        );
        assert!(good.text().contains("Not a row was lost"));
        let lost = report(rows(0..4), rows(5..7));
        assert!(lost.fault().unwrap().contains("before maintenance"));
        assert!(lost.text().contains("✗ The rows changed"));
        assert_eq!(lost.document()["success"], false);
        let writer = report(rows(0..5), rows(5..6));
        assert!(writer.fault().unwrap().contains("writer"));
        assert!(writer.text().contains("1 rows are there"));
    }
}
