//! What must be true once the fire is out and every job has ended.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use metadata::Snapshot;
use serde_json::json;

use crate::history::History;
use crate::house::{CATALOG, House};
use crate::jobs::{self, Done, Record, Submission};
use crate::leaks;
use crate::writer::Writer;

/// What a worker writes into the summaries of its snapshots.
const JOB: &str = "snowpack.job-id";
const ACTION: &str = "snowpack.action";
const COMPLETES: &str = "snowpack.completes-action";
/// Whom the orchestrator's jobs are submitted by.
const ORCHESTRATOR: &str = "orchestrator";
/// Of so many jobs it can be told whether the round was one.
const JOBS_ENOUGH: usize = 20;
/// Rows of one table named in a complaint.
const NAMED_MAX: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) records: Vec<Record>,
    pub(crate) results: BTreeMap<String, Vec<Done>>,
    /// Of the orchestrator.
    pub(crate) decisions: BTreeMap<String, u64>,
    pub(crate) rows: usize,
    pub(crate) files: usize,
    /// What should not be.
    pub(crate) faults: Vec<String>,
}

/// Judges the round by what writers noted and the API answered.
pub(crate) async fn all(
    house: &House,
    writers: &[Writer],
    submissions: &[Submission],
) -> Result<Findings> {
    let client = house.pool.get().await?;
    let mut found = Findings {
        records: jobs::records(&client).await?,
        results: jobs::results(&client).await?,
        decisions: jobs::decisions(&client).await?,
        ..Findings::default()
    };
    let leftovers = jobs::leftovers(&client).await?;
    found.faults = every_job_once(&found.records, submissions);
    let decided = jobs::decided(&client).await?;
    found.faults.extend(decided_once(&found.records, &decided));
    if leftovers != (0, 0) {
        let (queued, locks) = leftovers;
        found
            .faults
            .push(format!("{queued} queue rows and {locks} locks are left"));
    }
    let mut histories = Vec::new();
    for writer in writers {
        let history = History::read(house, &writer.table).await;
        let history = history.with_context(|| format!("the history of {}", writer.table))?;
        found.faults.extend(commits(writer, &history));
        histories.push(history);
    }
    let snapshots = histories.iter().flat_map(History::snapshots);
    let effects = committed(snapshots.map(|(_, snapshot)| snapshot));
    let within = !house.places.elsewhere();
    found.faults.extend(judged(&found, &effects, within));
    found.faults.extend(idle(&found));
    found.rows = writers.iter().map(|writer| writer.reference.len()).sum();
    found.faults.extend(rows(house, writers).await?);
    let leaks = leaks::find(house, &histories, &client).await?;
    found.files = leaks.files;
    found.faults.extend(leaks.faults);
    Ok(found)
}

/// Every job that was answered for has one row, which is terminal, and nobody else's job is there.
fn every_job_once(records: &[Record], submissions: &[Submission]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut by_id: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_id.entry(&record.job).or_default().push(record);
        if !record.terminal() {
            faults.push(format!("job {} is {}", record.job, record.status));
        }
    }
    for (job, rows) in &by_id {
        if rows.len() != 1 {
            faults.push(format!("job {job} has {} rows", rows.len()));
        }
    }
    let mut owned = BTreeSet::new();
    for submission in submissions {
        let (job, key) = (submission.job.as_str(), &submission.key);
        owned.insert(job);
        match by_id.get(job).and_then(|rows| rows.first()) {
            None => faults.push(format!("job {job} ({key}) was accepted and is lost")),
            Some(row) if row.key.as_ref() != Some(key) || row.table != submission.table => {
                faults.push(format!("job {job} is not the one submitted as {key}"));
            }
            Some(_) => {}
        }
    }
    if owned.len() != submissions.len() {
        faults.push("two submissions were answered with one job".to_owned());
    }
    let strangers = records.iter().filter(|record| {
        !owned.contains(record.job.as_str()) && record.submitted_by.starts_with("api:")
    });
    faults.extend(strangers.map(|record| {
        let key = record.key.as_deref().unwrap_or("no key");
        format!("job {} ({key}) was submitted twice", record.job)
    }));
    faults
}

/// Every job of the orchestrator was decided by one run, and every decision has its job: the two
/// are one transaction.
fn decided_once(records: &[Record], decided: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut tables: BTreeMap<&str, &str> = BTreeMap::new();
    for (job, table) in decided {
        if tables.insert(job, table).is_some() {
            faults.push(format!("job {job} was decided twice"));
        }
    }
    for record in records {
        let decided = tables.remove(record.job.as_str());
        let expected = (record.submitted_by == ORCHESTRATOR).then_some(record.table.as_str());
        if decided != expected {
            let (job, who) = (&record.job, &record.submitted_by);
            faults.push(format!(
                "job {job} of {who} for {} was decided for {decided:?}",
                record.table
            ));
        }
    }
    let lost = tables.keys();
    faults.extend(lost.map(|job| format!("job {job} was decided and is lost")));
    faults
}

/// A round in which little was done proves little: of enough jobs at least half completed, and each
/// action had an effect.
fn idle(found: &Findings) -> Vec<String> {
    let jobs = found.records.len();
    if jobs < JOBS_ENOUGH {
        return Vec::new();
    }
    let completed = found.records.iter();
    let completed = completed.filter(|record| record.status == "completed");
    let completed = completed.count();
    let mut faults = Vec::new();
    if completed * 2 < jobs {
        faults.push(format!("only {completed} of {jobs} jobs completed"));
    }
    for action in ["rewrite_data_files", "expire_snapshots", "purge_pending"] {
        let mut results = found.results.values().flatten();
        if !results.any(|done| done.action == action && done.outcome == "done") {
            faults.push(format!("no {action} had an effect"));
        }
    }
    faults
}

/// What the writer knows to be committed is in the table's history once, and nothing else.
fn commits(writer: &Writer, history: &History) -> Vec<String> {
    let table = &writer.table;
    let marks = history.marks();
    let lost = writer
        .landed
        .iter()
        .filter(|mark| !marks.contains_key(*mark));
    let lost = lost.map(|mark| format!("{table}: the commit {mark} is lost"));
    let others = marks.iter().filter_map(|(mark, count)| {
        if !writer.landed.contains(mark) {
            return Some(format!(
                "{table}: the commit {mark} was refused and is there"
            ));
        }
        (*count != 1).then(|| format!("{table}: the commit {mark} is there {count} times"))
    });
    lost.chain(others).collect()
}

/// What one job committed for one action.
#[derive(Debug, Default)]
struct Committed {
    snapshots: Vec<i64>,
    completing: usize,
    /// The last of the snapshots, behind its sequence number.
    last: Option<(i64, i64)>,
}

/// By job and action.
type Effects = BTreeMap<(String, String), Committed>;

fn committed<'s>(snapshots: impl Iterator<Item = &'s Snapshot>) -> Effects {
    let mut committed = Effects::new();
    for snapshot in snapshots {
        let said = |key: &str| snapshot.summary.get(key).cloned();
        let Some(whose) = said(JOB).zip(said(ACTION)) else {
            continue;
        };
        let of_job = committed.entry(whose).or_default();
        of_job.snapshots.push(snapshot.snapshot_id);
        let this = (snapshot.sequence_number, snapshot.snapshot_id);
        of_job.last = of_job.last.max(Some(this));
        of_job.completing += usize::from(said(COMPLETES).as_deref() == Some("true"));
    }
    committed
}

/// Every action of every job had its effect once at most, and exactly when its row says so. Only
/// where swap and row are not one transaction may a job that did not complete lack the row.
fn judged(found: &Findings, effects: &Effects, within: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let none = Vec::new();
    let records = found.records.iter();
    let records: BTreeMap<&str, &Record> = records
        .map(|record| (record.job.as_str(), record))
        .collect();
    for ((job, action), what) in effects {
        let count = what.snapshots.len();
        let results = found.results.get(job).unwrap_or(&none);
        let done = results
            .iter()
            .find(|done| done.action == *action && done.outcome == "done");
        let Some(record) = records.get(job.as_str()) else {
            faults.push(format!("{action} was committed for {job}, which is no job"));
            continue;
        };
        if 1 < what.completing || (1 < count && !record.in_parts) {
            faults.push(format!("{action} of job {job} was committed {count} times"));
        }
        let snapshot = done.and_then(|done| done.snapshot);
        let told = snapshot.is_some_and(|snapshot| what.snapshots.contains(&snapshot));
        let said = results.iter().any(|done| done.action == *action);
        let unsaid = !within && !said && record.status != "completed";
        // A rewrite in parts may end with groups given up, or in an attempt that finds nothing left
        // after another's parts: then no commit says it is the last, but the row names the one that is.
        let ended = snapshot.is_some() && snapshot == what.last.map(|(_, last)| last);
        let completed = what.completing == 1 || (record.in_parts && ended);
        if completed != told && !unsaid {
            faults.push(format!(
                "job {job}, {action}: committed {what:?}, recorded {done:?}"
            ));
        }
    }
    for (job, results) in &found.results {
        let actions: BTreeSet<&str> = results.iter().map(|done| done.action.as_str()).collect();
        if actions.len() != results.len() {
            faults.push(format!("job {job} recorded an action twice: {results:?}"));
        }
        faults.extend(results.iter().filter_map(|done| {
            let snapshot = done.snapshot?;
            let what = effects.get(&(job.clone(), done.action.clone()));
            let there = what.is_some_and(|what| what.snapshots.contains(&snapshot));
            (!there).then(|| format!("job {job} recorded {done:?}, which no table has"))
        }));
    }
    faults
}

/// Independent readers see exactly the rows that writers noted.
async fn rows(house: &House, writers: &[Writer]) -> Result<Vec<String>> {
    let tables: Vec<String> = writers.iter().map(|writer| writer.table.key()).collect();
    let asked = json!({
        "uri": house.catalog_url,
        "catalog": CATALOG,
        "warehouse": house.warehouse,
        "tables": tables,
        "properties": house.oracle_properties(),
    });
    let read = tokio::task::spawn_blocking(move || testkit::oracle("fleet_tables", &asked)).await?;
    let mut faults = Vec::new();
    for writer in writers {
        let (table, want) = (writer.table.key(), writer.reference.lines());
        let readers = read[&table].as_object();
        let readers = readers.with_context(|| format!("{table} was not read"))?;
        for (reader, lines) in readers {
            let lines: Vec<String> = serde_json::from_value(lines.clone())?;
            if lines != want {
                faults.push(format!(
                    "{table} by {reader}: {}",
                    difference(&want, &lines)
                ));
            }
        }
    }
    Ok(faults)
}

fn difference(want: &[String], have: &[String]) -> String {
    let mut count: BTreeMap<&str, i64> = BTreeMap::new();
    for line in have {
        *count.entry(line).or_default() += 1;
    }
    for line in want {
        *count.entry(line).or_default() -= 1;
    }
    let named = |wrong: fn(i64) -> bool| {
        let lines = count.iter().filter(|(_, count)| wrong(**count));
        let lines: Vec<&str> = lines.map(|(line, _)| *line).collect();
        format!(
            "{} ({:?}..)",
            lines.len(),
            &lines[..lines.len().min(NAMED_MAX)]
        )
    };
    format!(
        "{} rows instead of {}; missing {}, too many {}",
        have.len(),
        want.len(),
        named(|count| count < 0),
        named(|count| 0 < count)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(job: &str, status: &str, key: &str) -> Record {
        Record {
            job: job.to_owned(),
            table: "fire.t00".to_owned(),
            status: status.to_owned(),
            reason: None,
            key: Some(key.to_owned()),
            submitted_by: "api:anonymous".to_owned(),
            in_parts: false,
        }
    }

    fn submission(job: &str, key: &str) -> Submission {
        Submission {
            job: job.to_owned(),
            key: key.to_owned(),
            table: "fire.t00".to_owned(),
        }
    }

    #[test]
    fn a_job_that_is_lost_doubled_open_or_anothers_is_found() {
        let (done, mine) = (record("a", "completed", "k"), [submission("a", "k")]);
        let check = |records: &[Record]| every_job_once(records, &mine).len();
        assert_eq!(check(std::slice::from_ref(&done)), 0);
        assert_eq!(check(&[]), 1, "lost");
        assert_eq!(check(&[done.clone(), done.clone()]), 1, "two rows");
        assert_eq!(check(&[record("a", "running", "k")]), 1, "open");
        assert_eq!(check(&[record("a", "failed", "l")]), 1, "other key");
        let twice = [done.clone(), record("b", "completed", "k")];
        assert_eq!(check(&twice), 1, "submitted twice");
        let both = [mine[0].clone(), submission("a", "l")];
        assert_eq!(every_job_once(&[done], &both).len(), 2, "one job for two");
    }

    #[test]
    fn a_job_of_the_orchestrator_without_a_decision_and_a_decision_without_its_job_are_found() {
        let own = Record {
            submitted_by: ORCHESTRATOR.to_owned(),
            ..record("a", "completed", "-")
        };
        let decided = |job: &str, table: &str| (job.to_owned(), table.to_owned());
        let check =
            |decided: &[(String, String)]| decided_once(std::slice::from_ref(&own), decided);
        let mine = decided("a", "fire.t00");
        assert_eq!(check(std::slice::from_ref(&mine)).len(), 0);
        assert_eq!(check(&[]).len(), 1, "not decided");
        assert_eq!(check(&[decided("a", "fire.t01")]).len(), 1, "other table");
        assert_eq!(check(&[mine.clone(), mine.clone()]).len(), 1, "twice");
        assert_eq!(check(&[mine, decided("b", "fire.t00")]).len(), 1, "lost");
    }

    #[test]
    fn an_effect_without_its_row_and_a_row_without_its_effect_are_found() {
        let found = |outcome: &str, snapshot: Option<i64>| Findings {
            records: vec![record("a", "completed", "k")],
            results: BTreeMap::from([(
                "a".to_owned(),
                vec![Done {
                    action: "rewrite_data_files".to_owned(),
                    outcome: outcome.to_owned(),
                    snapshot,
                    swaps: 1,
                }],
            )]),
            ..Findings::default()
        };
        let summary = [
            (JOB, "a"),
            (ACTION, "rewrite_data_files"),
            (COMPLETES, "true"),
        ];
        let summary = summary.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let check = |found: &Findings, ids: &[i64]| {
            let snapshots = ids.iter().map(|id| Snapshot {
                snapshot_id: *id,
                summary: summary.clone().into(),
                ..Snapshot::default()
            });
            let snapshots: Vec<Snapshot> = snapshots.collect();
            judged(found, &committed(snapshots.iter()), true).len()
        };
        assert_eq!(check(&found("done", Some(7)), &[7]), 0);
        assert_eq!(check(&found("nothing_to_do", None), &[]), 0);
        assert_ne!(check(&found("done", Some(7)), &[]), 0, "no effect");
        assert_ne!(check(&found("done", Some(7)), &[8]), 0, "another effect");
        assert_ne!(check(&found("nothing_to_do", None), &[7]), 0, "no row");
        assert_ne!(check(&found("done", Some(7)), &[7, 8]), 0, "twice");
        assert_ne!(check(&Findings::default(), &[7]), 0, "no job's");
    }

    #[test]
    fn of_a_rewrite_in_parts_the_row_names_the_last() {
        let check = |told: Option<i64>, in_parts: bool, completes: bool| {
            let done = told.map(|_| Done {
                action: "rewrite_data_files".to_owned(),
                outcome: "done".to_owned(),
                snapshot: told,
                swaps: 2,
            });
            let found = Findings {
                records: vec![Record {
                    in_parts,
                    ..record("a", "completed", "k")
                }],
                results: BTreeMap::from([("a".to_owned(), done.into_iter().collect())]),
                ..Findings::default()
            };
            // Ids say nothing of the order.
            let snapshots = [(9, 1, false), (7, 2, completes)];
            let snapshots = snapshots.map(|(snapshot_id, sequence_number, completes)| {
                let completes = completes.then_some((COMPLETES, "true"));
                let summary = [(JOB, "a"), (ACTION, "rewrite_data_files")];
                let summary = summary.into_iter().chain(completes);
                Snapshot {
                    snapshot_id,
                    sequence_number,
                    summary: summary
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                    ..Snapshot::default()
                }
            });
            judged(&found, &committed(snapshots.iter()), true).len()
        };
        assert_eq!(check(Some(7), true, true), 0);
        assert_eq!(check(Some(7), true, false), 0, "a group was given up");
        assert_eq!(check(None, true, false), 0, "it did not end");
        assert_ne!(check(Some(9), true, false), 0, "a part came after the row");
        assert_ne!(check(None, true, true), 0, "no row");
        assert_ne!(check(Some(7), false, true), 0, "it was to be one part");
    }

    #[test]
    fn a_round_that_did_little_is_found() {
        let done = |action: &str| Done {
            action: action.to_owned(),
            outcome: "done".to_owned(),
            snapshot: None,
            swaps: 0,
        };
        let actions = ["rewrite_data_files", "expire_snapshots", "purge_pending"];
        let round = |completed: usize, failed: usize, actions: &[&str]| {
            let records = std::iter::repeat_n(record("a", "completed", "k"), completed)
                .chain(std::iter::repeat_n(record("a", "failed", "k"), failed));
            let results = actions.iter().map(|action| done(action)).collect();
            idle(&Findings {
                records: records.collect(),
                results: BTreeMap::from([("a".to_owned(), results)]),
                ..Findings::default()
            })
            .len()
        };
        assert_eq!(round(10, 10, &actions), 0);
        assert_eq!(round(9, 11, &actions), 1);
        assert_eq!(round(20, 0, &actions[1..]), 1);
        assert_eq!(round(0, 19, &[]), 0, "too few to tell");
    }

    #[test]
    fn a_row_that_is_missing_or_too_many_is_named() {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let told = difference(&lines(&["a", "b"]), &lines(&["b", "b"]));
        assert_eq!(
            told,
            r#"2 rows instead of 2; missing 1 (["a"]..), too many 1 (["b"]..)"#
        );
    }
}
