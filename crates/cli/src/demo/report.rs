//! What the demo says at its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::disk::Disk;
use super::event::Fingerprint;
use crate::done;
use crate::facts::Facts;
use crate::print::{self, Grid};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) wrote: Wrote,
    pub(crate) before: Side,
    /// Once the files are rewritten and nothing is deleted yet.
    pub(crate) rewritten: Stage,
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

/// What the writer did before maintenance began, beside writing rows.
#[derive(Debug)]
pub(crate) struct Wrote {
    pub(crate) deleted: u64,
    pub(crate) updated: u64,
}

/// The table's files at one time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stage {
    pub(crate) facts: Facts,
    pub(crate) disk: Disk,
}

/// The rows that were there before maintenance began, and the files that hold them.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) stage: Stage,
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
            "files_before": before.stage.facts.files.data_files,
            "files_after": after.stage.facts.files.data_files,
            "bytes_before": before.stage.facts.files.bytes,
            "bytes_after": after.stage.facts.files.bytes,
            "small_file_share_before": before.stage.facts.files.small_file_share(),
            "small_file_share_after": after.stage.facts.files.small_file_share(),
            "delete_files_before": before.stage.facts.files.delete_files,
            "delete_files_after": after.stage.facts.files.delete_files,
            "snapshots_before": before.stage.facts.snapshots,
            "snapshots_after": after.stage.facts.snapshots,
            "disk": {
                "before": disk(before.stage.disk),
                "rewritten": disk(self.rewritten.disk),
                "after": disk(after.stage.disk),
            },
            "rows_deleted": self.wrote.deleted,
            "rows_updated": self.wrote.updated,
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
            self.freed(),
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
        let stages = [&self.before.stage, &self.rewritten, &self.after.stage];
        let mut grid = Grid::new(&["", ">BEFORE", ">REWRITTEN", ">EXPIRED AND PURGED"]);
        let mut row = |name: &str, get: &dyn Fn(&Stage) -> String| {
            let cells = stages.map(get);
            grid.row([name.to_owned()].into_iter().chain(cells));
        };
        row("data files", &|stage| {
            print::count(stage.facts.files.data_files)
        });
        row("their bytes", &|stage| {
            print::bytes(stage.facts.files.bytes)
        });
        row("small files", &|stage| {
            let files = &stage.facts.files;
            print::share(files.small_files, files.data_files)
        });
        row("delete files", &|stage| {
            print::count(stage.facts.files.delete_files)
        });
        row("snapshots", &|stage| print::count(stage.facts.snapshots));
        row("files on disk", &|stage| print::count(stage.disk.files));
        row("bytes on disk", &|stage| print::bytes(stage.disk.bytes));
        let ends = |before: String, after: String| [before, String::new(), after];
        let (before, after) = (&self.before.rows, &self.after.rows);
        let rows = ends(print::count(before.rows), print::count(after.rows));
        grid.row(["rows".to_owned()].into_iter().chain(rows));
        let fingerprints = ends(short(before), short(after));
        grid.row(["fingerprint".to_owned()].into_iter().chain(fingerprints));
        grid
    }

    /// What expiry and purge gave back, as found in the folder.
    fn freed(&self) -> String {
        let (full, after) = (&self.rewritten.disk, &self.after.stage.disk);
        format!(
            "✓ What only old snapshots needed is gone: {} on disk became {}, {} became {}",
            print::counted(full.files, "file"),
            print::count(after.files),
            print::bytes(full.bytes),
            print::bytes(after.bytes)
        )
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
        let mut grid = Grid::new(&[
            ">JOB",
            "STATUS",
            "ACTION",
            "OUTCOME",
            ">TOOK",
            "WHAT IT DID",
        ]);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        for (number, job) in (1..).zip(&self.jobs) {
            let results = job["results"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            for result in results {
                let took =
                    Duration::from_secs_f64(result["elapsed_seconds"].as_f64().unwrap_or_default());
                let report = done::report(Some(&result["result"]));
                grid.row([
                    print::count(number),
                    text(&job["status"]),
                    text(&result["action"]),
                    text(&result["outcome"]),
                    print::seconds(took),
                    report.map_or_else(|| text(&result["message"]), |report| done::words(&report)),
                ]);
            }
        }
        grid
    }
}

fn disk(disk: Disk) -> Value {
    json!({ "files": disk.files, "bytes": disk.bytes })
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
        let stage = |data_files, small_files, bytes| Stage {
            facts: Facts {
                files: TableFacts {
                    data_files,
                    small_files,
                    ..TableFacts::default()
                },
                ..Facts::default()
            },
            disk: Disk {
                files: data_files,
                bytes,
            },
        };
        Report {
            wrote: Wrote {
                deleted: 1,
                updated: 1,
            },
            rewritten: stage(408, 400, 3072),
            before: Side {
                stage: stage(400, 400, 2048),
                rows: rows(0..5),
            },
            after: Side {
                stage: stage(8, 0, 1024),
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
        assert!(
            good.text()
                .contains("408 files on disk became 8, 3.0 KiB became 1.0 KiB")
        );
        let lost = report(rows(0..4), rows(5..7));
        assert!(lost.fault().unwrap().contains("before maintenance"));
        assert!(lost.text().contains("✗ The rows changed"));
        assert_eq!(lost.document()["success"], false);
        let writer = report(rows(0..5), rows(5..6));
        assert!(writer.fault().unwrap().contains("writer"));
        assert!(writer.text().contains("1 rows are there"));
    }
}
