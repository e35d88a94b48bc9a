//! What became of the actions of one `maintain`, for people in each action's own words.

use std::time::Duration;

use maintenance::ActionRow;
use model::{Action, ActionOutcome};
use planner::{Deletes, Expired, ManifestEntries, Orphans, Purge, Report};
use serde_json::{Value, json};

use crate::print::{self, Grid};

/// What became of one action.
#[derive(Debug)]
pub(crate) struct Done {
    action: Action,
    /// `None`: it was never run.
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Ended {
    outcome: ActionOutcome,
    message: String,
    elapsed: Duration,
    result: Option<Value>,
    report: Option<Report>,
}

impl Done {
    pub(crate) fn not_run(action: Action) -> Self {
        let ended = None;
        Self { action, ended }
    }

    /// By the rows its job has.
    pub(crate) fn recorded(action: Action, rows: &[ActionRow]) -> Self {
        let row = rows.iter().rev().find(|row| row.result.action == action);
        let ended = row.map(|ActionRow { result, .. }| {
            let said = result.error.as_ref().or(result.message.as_ref());
            Ended {
                outcome: result.outcome,
                message: said.cloned().unwrap_or_else(|| result.outcome.to_string()),
                elapsed: result.elapsed,
                result: result.result.clone(),
                report: report(result.result.as_ref()),
            }
        });
        Self { action, ended }
    }

    /// By its report, or why there is none.
    pub(crate) fn reported(
        action: Action,
        done: Result<&Report, String>,
        elapsed: Duration,
    ) -> Self {
        let ended = match done {
            Ok(report) => Ended {
                outcome: report.outcome(),
                message: report.message(),
                elapsed,
                result: serde_json::to_value(report).ok(),
                report: Some(report.clone()),
            },
            Err(message) => Ended {
                outcome: ActionOutcome::Failed,
                message,
                elapsed,
                result: None,
                report: None,
            },
        };
        let ended = Some(ended);
        Self { action, ended }
    }

    pub(crate) fn document(&self) -> Value {
        let Some(ended) = &self.ended else {
            return json!({
                "action": self.action,
                "success": false,
                "message": "not run: the job ended before",
                "elapsed_seconds": 0.0,
                "result": null,
            });
        };
        let mut document = json!({
            "action": self.action,
            "success": ended.outcome.success(),
            "message": ended.message,
            "elapsed_seconds": ended.elapsed.as_secs_f64(),
            "result": ended.result,
        });
        let skipped = ended
            .report
            .as_ref()
            .and_then(|report| report.skipped.as_ref());
        if let Some(why) = skipped {
            document["skipped"] = json!(why);
        }
        document
    }
}

/// A stored result, when it is one of this version's.
pub(crate) fn report(result: Option<&Value>) -> Option<Report> {
    serde_json::from_value(result?.clone()).ok()
}

pub(crate) fn grid(done: &[Done]) -> Grid {
    let mut grid = Grid::new(&["ACTION", "OUTCOME", ">TOOK", "WHAT IT DID"]);
    for Done { action, ended } in done {
        let Some(ended) = ended else {
            grid.row([action.as_str(), "not run", "-", "the job ended before"]);
            continue;
        };
        let good = ended.report.as_ref().filter(|_| ended.outcome.success());
        grid.row([
            action.to_string(),
            ended.outcome.to_string(),
            print::seconds(ended.elapsed),
            good.map_or_else(|| ended.message.clone(), words),
        ]);
    }
    grid
}

/// What a report says, in its action's own words.
pub(crate) fn words(report: &Report) -> String {
    if let Some(why) = &report.skipped {
        why.clone()
    } else if let Some(expired) = &report.expired {
        of_expiry(expired)
    } else if let Some(purge) = &report.purge {
        of_purge(purge)
    } else if let Some(orphans) = &report.orphans {
        of_orphans(orphans)
    } else if let Some(deletes) = &report.deletes {
        of_deletes(report, deletes)
    } else if let Some(entries) = &report.manifest_entries {
        of_manifests(report, entries)
    } else {
        of_rewrite(report)
    }
}

fn of_orphans(orphans: &Orphans) -> String {
    let left = match orphans.left {
        0 => String::new(),
        left => format!(", {} are left to the next run", print::count(left)),
    };
    format!(
        "{} ({}) to be deleted{left}",
        print::counted(orphans.files, "orphan file"),
        print::bytes(orphans.bytes)
    )
}

fn of_deletes(report: &Report, deletes: &Deletes) -> String {
    format!(
        "{} ({}, {}) -> {} ({}, {})",
        print::counted(report.files_in, "delete file"),
        print::counted(deletes.removed, "delete"),
        print::bytes(report.bytes_in),
        print::count(report.files_out),
        print::count(deletes.added),
        print::bytes(report.bytes_out),
    )
}

fn of_manifests(report: &Report, entries: &ManifestEntries) -> String {
    format!(
        "{} ({}) -> {} ({}) with {}; {} kept",
        print::counted(report.files_in, "manifest"),
        print::bytes(report.bytes_in),
        print::count(report.files_out),
        print::bytes(report.bytes_out),
        print::counted(entries.moved, "live file"),
        print::count(entries.kept),
    )
}

fn of_expiry(expired: &Expired) -> String {
    let mut said = vec![format!(
        "{} expired",
        print::counted(expired.snapshots, "snapshot")
    )];
    let others = [
        (expired.refs, "branch or tag"),
        (expired.definitions, "spec or schema"),
    ];
    for (removed, what) in others.into_iter().filter(|(removed, _)| *removed > 0) {
        said.push(format!("{} removed", print::counted(removed, what)));
    }
    let files = print::counted(expired.files, "file");
    let verb = if expired.files == 1 { "waits" } else { "wait" };
    said.push(format!(
        "{files} ({}) {verb} for deletion",
        print::bytes(expired.bytes)
    ));
    said.join(", ")
}

fn of_purge(purge: &Purge) -> String {
    let files = print::counted(purge.deleted, "file");
    let mut said = vec![format!(
        "{files} deleted, {} freed",
        print::bytes(purge.bytes)
    )];
    if purge.kept > 0 {
        said.push(format!("{} kept", print::count(purge.kept)));
    }
    if purge.failed > 0 {
        said.push(format!(
            "{} failed, tried again later",
            print::count(purge.failed)
        ));
    }
    said.join(", ")
}

fn of_rewrite(report: &Report) -> String {
    let (files_in, files_out) = (report.files_in, report.files_out);
    let (bytes_in, bytes_out) = (report.bytes_in, report.bytes_out);
    let mut said = vec![
        format!(
            "{} files -> {}",
            print::count(files_in),
            print::count(files_out)
        ),
        format!("{} -> {}", print::bytes(bytes_in), print::bytes(bytes_out)),
        print::counted(report.rows_out, "row"),
    ];
    if report.deletes_applied > 0 {
        said.push(format!(
            "{} applied",
            print::counted(report.deletes_applied, "delete")
        ));
    }
    if report.groups_failed > 0 {
        said.push(format!(
            "{} given up",
            print::counted(report.groups_failed.into(), "group")
        ));
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_never_ran_is_no_success() {
        let document = Done::recorded(Action::RewriteDataFiles, &[]).document();
        assert_eq!(document["success"], false);
        assert_eq!(document["message"], "not run: the job ended before");
    }

    #[test]
    fn every_action_speaks_for_itself() {
        let check = |report: Report, want: &str| assert_eq!(words(&report), want);
        check(Report::nothing("the table is empty"), "the table is empty");
        let rewrite = Report {
            files_in: 1_200,
            files_out: 1,
            bytes_in: 2048,
            bytes_out: 1024,
            rows_out: 7,
            deletes_applied: 1,
            ..Report::default()
        };
        check(
            rewrite,
            "1,200 files -> 1, 2.0 KiB -> 1.0 KiB, 7 rows, 1 delete applied",
        );
        let expired = |expired| Report {
            expired: Some(expired),
            ..Report::default()
        };
        check(
            expired(Expired {
                snapshots: 97,
                files: 1,
                bytes: 10,
                ..Expired::default()
            }),
            "97 snapshots expired, 1 file (10 B) waits for deletion",
        );
        check(
            expired(Expired {
                snapshots: 1,
                refs: 2,
                files: 3,
                bytes: 10,
                definitions: 1,
            }),
            "1 snapshot expired, 2 branches or tags removed, 1 spec or schema removed, 3 files (10 B) wait for deletion",
        );
        let purge = Purge {
            deleted: 9,
            bytes: 2048,
            kept: 1,
            failed: 2,
        };
        check(
            Report {
                purge: Some(purge),
                ..Report::default()
            },
            "9 files deleted, 2.0 KiB freed, 1 kept, 2 failed, tried again later",
        );
    }
}
