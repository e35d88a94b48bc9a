//! What the demo of a lakehouse says at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::JobStatus;
use serde_json::{Value, json};

use super::kind::Fate;
use super::promises::{self, Looked, Promise};
use super::rounds::{Complaint, Round, Seen};
use super::standing::{HEALTHY_MIN, Standing};
use crate::demo::event::Fingerprint;
use crate::print::{self, Grid};

/// Of a part with more tables, so many of each kind are shown; the others are counted.
const SHOWN_MAX: usize = 12;
const OF_A_KIND_MAX: usize = 2;
/// Lower bounds of the distribution's steps, the best first.
const STEPS: [(f64, &str); 4] = [
    (HEALTHY_MIN, "90 to 100"),
    (75.0, "75 to 90"),
    (50.0, "50 to 75"),
    (0.0, "below 50"),
];
const BAR_WIDTH: usize = 24;

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct Report {
    tables: Vec<Looked>,
    rounds: Vec<Round>,
    promises: Vec<Promise>,
    complaints: Vec<Complaint>,
    kept: Option<String>,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn new(
        tables: Vec<Looked>,
        seen: Seen,
        complaints: Vec<Complaint>,
        kept: Option<String>,
    ) -> Self {
        Self {
            promises: promises::all(&tables, &seen.rounds),
            tables,
            rounds: seen.rounds,
            complaints,
            kept,
            took: Duration::ZERO,
        }
    }

    /// Which promise was not kept.
    pub(crate) fn fault(&self) -> Option<String> {
        let mut broken = self.promises.iter();
        let broken = broken.find(|promise| !promise.broken.is_empty())?;
        Some(format!(
            "not as promised: {} (not true of {})",
            broken.says,
            broken.broken.join(", ")
        ))
    }

    pub(crate) fn document(&self) -> Value {
        json!({
            "success": self.fault().is_none(),
            "healthy_score_min": HEALTHY_MIN,
            "tables": self.tables.iter().map(table).collect::<Vec<Value>>(),
            "rounds": self.rounds.iter().map(round).collect::<Vec<Value>>(),
            "promises": self.promises.iter().map(promise).collect::<Vec<Value>>(),
            "complaints": self.complaints.iter().map(complaint).collect::<Vec<Value>>(),
            "seconds": self.took.as_secs_f64(),
            "kept": self.kept,
        })
    }

    pub(crate) fn text(&self) -> String {
        let files = match &self.kept {
            Some(folder) => format!("The tables' files are in {folder}."),
            None => "Everything it made is gone; --keep DIR keeps the tables' files.".to_owned(),
        };
        let parts = [
            String::new(),
            self.distribution(),
            self.maintained(),
            self.left_alone(),
            self.verdict(),
            format!(
                "Done in {}. {files}\nNext: README, \"Run a lakehouse by itself\".\n",
                print::seconds(self.took)
            ),
        ];
        let text = parts.join("\n");
        let lines = text.lines().map(|line| format!("  {line}"));
        let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n") + "\n"
    }

    /// How many tables were and are how healthy.
    fn distribution(&self) -> String {
        let before = counts(self.tables.iter().map(|one| &one.before));
        let after = counts(self.tables.iter().map(|one| &one.after));
        let mut grid = Grid::new(&["HEALTH", "BEFORE", "AFTER"]);
        for (step, (_, name)) in STEPS.iter().enumerate() {
            let side = |counts: &[usize]| bar(counts[step], self.tables.len());
            grid.row([(*name).to_owned(), side(&before), side(&after)]);
        }
        let unknown = |counts: &[usize]| bar(counts[STEPS.len()], self.tables.len());
        grid.row(["unreadable".to_owned(), unknown(&before), unknown(&after)]);
        grid.render()
    }

    /// What was maintained, the worst first.
    fn maintained(&self) -> String {
        let mut tables = self.with(|one| one.kind.fate() == Fate::Maintained);
        tables.sort_by(|one, other| {
            let score = |one: &Looked| one.before.score().unwrap_or_default();
            score(one).total_cmp(&score(other))
        });
        let mut grid = Grid::new(&[
            "MAINTAINED, WORST FIRST",
            ">HEALTH",
            ">DATA FILES",
            ">DELETE FILES",
            ">SNAPSHOTS",
            ">JOBS",
            ">ROWS",
            "FINGERPRINT",
        ]);
        let shown = shown(&tables);
        for one in &shown {
            let (before, after) = (&one.before.measured, &one.after.measured);
            let change = |get: fn(&super::standing::Measured) -> u64| {
                let side = |side: &Option<super::standing::Measured>| {
                    side.as_ref()
                        .map_or_else(|| "-".to_owned(), |side| print::count(get(side)))
                };
                format!("{} → {}", side(before), side(after))
            };
            grid.row([
                one.table.clone(),
                format!("{} → {}", points(&one.before), points(&one.after)),
                change(|side| side.data_files),
                change(|side| side.delete_files),
                change(|side| side.snapshots),
                one.jobs(JobStatus::Completed).to_string(),
                print::count(one.written.rows),
                rows(one),
            ]);
        }
        grid.render() + &more(tables.len() - shown.len())
    }

    /// What was not, and why: as the last run that decided recorded it.
    fn left_alone(&self) -> String {
        let tables = self.with(|one| one.kind.fate() != Fate::Maintained);
        // What the report is indented by is not to be had.
        let columns = print::columns().map(|columns| columns.saturating_sub(2));
        let mut grid = Grid::new(&["LEFT ALONE AT LAST", ">HEALTH", "REASON", "~WHY"]);
        let shown = shown(&tables);
        for one in &shown {
            let (reason, why) = one
                .last()
                .map_or(("-", "-"), |last| (last.reason.as_str(), last.why.as_str()));
            grid.row([
                one.table.clone(),
                points(&one.after),
                reason.to_owned(),
                why.to_owned(),
            ]);
        }
        let mut text = grid.within(columns) + &more(tables.len() - shown.len());
        let mut unread = self.tables.iter();
        if let Some((table, unread)) =
            unread.find_map(|one| Some((&one.table, one.unread.as_ref()?)))
        {
            let _ = writeln!(text, "{table}: {unread}; the next source applies");
        }
        text
    }

    fn verdict(&self) -> String {
        let mut text = String::new();
        for promise in &self.promises {
            let _ = match promise.broken.as_slice() {
                [] => writeln!(text, "✓ {}", promise.says),
                broken => writeln!(
                    text,
                    "✗ {}: not true of {}",
                    promise.says,
                    broken.join(", ")
                ),
            };
        }
        text
    }

    fn with(&self, among: impl Fn(&Looked) -> bool) -> Vec<&Looked> {
        self.tables.iter().filter(|one| among(one)).collect()
    }
}

/// Of each step of [`STEPS`], and of none.
fn counts<'a>(standings: impl Iterator<Item = &'a Standing>) -> Vec<usize> {
    let mut counts = vec![0; STEPS.len() + 1];
    for standing in standings {
        let step = standing
            .score()
            .and_then(|score| STEPS.iter().position(|(from, _)| *from <= score));
        counts[step.unwrap_or(STEPS.len())] += 1;
    }
    counts
}

/// A bar with its number; something is never nothing.
fn bar(count: usize, of: usize) -> String {
    let width = (count * BAR_WIDTH).div_ceil(of.max(1));
    format!("{count:>4} {:<BAR_WIDTH$}", "█".repeat(width))
}

fn points(standing: &Standing) -> String {
    standing
        .score()
        .map_or_else(|| "-".to_owned(), |score| format!("{score:.0}"))
}

/// Enough to compare by eye.
fn rows(one: &Looked) -> String {
    let short = |rows: &Fingerprint| rows.text()[..12].to_owned();
    if one.rows_kept() {
        format!("{} ✓", short(&one.read))
    } else {
        format!("{} ✗ {}", short(&one.written), short(&one.read))
    }
}

/// All of few tables, else some of each kind.
fn shown<'a>(tables: &[&'a Looked]) -> Vec<&'a Looked> {
    let mut of_kind = BTreeMap::new();
    let mut shown = tables.to_vec();
    shown.retain(|one| {
        let before = of_kind.entry(one.kind).or_insert(0);
        *before += 1;
        tables.len() <= SHOWN_MAX || *before <= OF_A_KIND_MAX
    });
    shown
}

fn more(tables: usize) -> String {
    match tables {
        0 => String::new(),
        more => format!("and {} more\n", print::count(more as u64)),
    }
}

fn table(one: &Looked) -> Value {
    let (fate, reason) = match one.kind.fate() {
        Fate::Maintained => ("maintained", None),
        Fate::MaintainedOnce => ("maintained_once", Some("not_due_yet")),
        Fate::Fine => ("fine", Some("healthy")),
        Fate::LeftAlone(reason) => ("left_alone", Some(reason)),
        Fate::Quarantined => ("quarantined", Some("quarantined")),
    };
    json!({
        "table": one.table,
        "kind": one.kind.word(),
        "expected": fate,
        "expected_reason": reason,
        "before": one.before.document(),
        "after": one.after.document(),
        "healthy": one.after.healthy(),
        "untouched": one.untouched,
        "unreadable_property": one.unread,
        "rows_written": one.written.rows,
        "rows_read": one.read.rows,
        "fingerprint_written": one.written.text(),
        "fingerprint_read": one.read.text(),
        "decisions": one.decisions,
    })
}

fn round(round: &Round) -> Value {
    let reasons = round.reasons.iter();
    let reasons: BTreeMap<&str, u64> = reasons
        .map(|count| (count.reason.as_str(), count.tables))
        .collect();
    json!({
        "health_sync_code": round.health_sync_code,
        "run": round.run,
        "reasons": reasons,
    })
}

fn promise(promise: &Promise) -> Value {
    json!({
        "promise": promise.says,
        "kept": promise.broken.is_empty(),
        "broken": promise.broken,
    })
}

fn complaint(complaint: &Complaint) -> Value {
    json!({ "program": complaint.program, "line": complaint.line })
}
