//! What a round says of itself, and what its programs logged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::check::Findings;
use crate::house::House;
use crate::writer::Tally;

/// Lines of one kind that are shown.
const SHOWN_MAX: usize = 30;

/// What the logs tell.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// Claims.
    pub(crate) attempts: usize,
    pub(crate) warnings: usize,
    /// Programs that ended saying why.
    pub(crate) last_words: usize,
    /// Panics and errors.
    pub(crate) faults: Vec<String>,
}

impl Logs {
    /// Reads the log of every program.
    pub(crate) fn read(house: &House) -> Result<Self> {
        let mut logs = Self::default();
        for entry in fs::read_dir(house.folder.join("logs"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            for line in fs::read_to_string(&path)?.lines() {
                logs.note(&name, line);
            }
        }
        Ok(logs)
    }

    fn note(&mut self, program: &str, line: &str) {
        let entry: Option<Value> = serde_json::from_str(line).ok();
        let said = |key: &str| entry.as_ref().and_then(|entry| entry[key].as_str());
        self.attempts += usize::from(said("event") == Some("job_claimed"));
        match said("level") {
            Some("INFO" | "DEBUG" | "TRACE") => {}
            Some("WARN") => self.warnings += 1,
            // The last word of a program that gives up: `snowpack-orchestrator: why`.
            None if entry.is_none() && last_word(line) => self.last_words += 1,
            // What is no entry is a panic, most likely.
            _ => self.faults.push(format!("{program} logged {line}")),
        }
    }
}

fn last_word(line: &str) -> bool {
    let named = line.split_once(": ");
    named.is_some_and(|(name, _)| name.starts_with("snowpack-") && !name.contains(' '))
}

/// A round in figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) replay: String,
    pub(crate) kept: Option<PathBuf>,
    pub(crate) submitted: usize,
    pub(crate) places: String,
    /// How often each kind of fault struck.
    pub(crate) struck: BTreeMap<&'static str, u64>,
    /// Kinds that hit nobody.
    pub(crate) spared: Vec<&'static str>,
    pub(crate) faults: Vec<String>,
    pub(crate) logs: Logs,
    /// Until every job had ended.
    pub(crate) burnt: Duration,
    pub(crate) took: Duration,
    /// Jobs by their end, those of the orchestrator included.
    pub(crate) ends: BTreeMap<String, u64>,
    /// What the orchestrator decided.
    pub(crate) decisions: BTreeMap<String, u64>,
    pub(crate) writers: Tally,
    pub(crate) actions: BTreeMap<String, u64>,
    pub(crate) conflicts: i64,
    pub(crate) rows: usize,
    pub(crate) files: usize,
}

impl Report {
    pub(crate) fn count(&mut self, found: &Findings, tallies: impl Iterator<Item = Tally>) {
        for record in &found.records {
            let reason = record.reason.as_ref();
            let why = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            *self
                .ends
                .entry(format!("{}{why}", record.status))
                .or_default() += 1;
        }
        for done in found.results.values().flatten() {
            let what = format!("{} {}", done.action, done.outcome);
            *self.actions.entry(what).or_default() += 1;
            self.conflicts += (done.swaps - 1).max(0);
        }
        for tally in tallies {
            self.writers.landed += tally.landed;
            self.writers.refused += tally.refused;
            self.writers.doubted += tally.doubted;
            self.writers.position_deletes += tally.position_deletes;
            self.writers.equality_deletes += tally.equality_deletes;
        }
        self.decisions.clone_from(&found.decisions);
        (self.rows, self.files) = (found.rows, found.files);
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let counts = |counts: &mut dyn Iterator<Item = (String, u64)>| {
            let counts: Vec<String> = counts
                .map(|(what, count)| format!("{count} {what}"))
                .collect();
            counts.join(", ")
        };
        let owned = |map: &BTreeMap<String, u64>| {
            let map = map.iter().map(|(what, count)| (what.clone(), *count));
            counts(&mut map.collect::<Vec<_>>().into_iter())
        };
        let struck = self.struck.iter();
        let struck = struck
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect();
        let all: u64 = self.ends.values().sum();
        let mut text = String::new();
        let lines = [
            format!(
                "seed {}, {}: {:.0} s, {:.0} s until every job had ended",
                self.seed,
                self.places,
                self.took.as_secs_f64(),
                self.burnt.as_secs_f64()
            ),
            format!("  struck: {}", owned(&struck)),
            format!(
                "  jobs: {} submitted by owners, {} by the orchestrator, {} attempts; {}",
                self.submitted,
                all - self.submitted as u64,
                self.logs.attempts,
                owned(&self.ends)
            ),
            format!(
                "  decisions of the orchestrator: {}",
                owned(&self.decisions)
            ),
            format!(
                "  actions: {}; {} swaps lost to writers",
                owned(&self.actions),
                self.conflicts
            ),
            format!(
                "  writers: {} commits, {} refused, {} whose answer was lost; {} position and {} equality deletes",
                self.writers.landed,
                self.writers.refused,
                self.writers.doubted,
                self.writers.position_deletes,
                self.writers.equality_deletes
            ),
            format!(
                "  read back: {} rows and {} files; {} warnings logged, {} programs gave up",
                self.rows, self.files, self.logs.warnings, self.logs.last_words
            ),
        ];
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        if !self.spared.is_empty() {
            let _ = writeln!(text, "  hit nobody: {}", self.spared.join(", "));
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "  kept: {}", kept.display());
        }
        text
    }

    /// What went wrong, and how to see it again.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        let shown = &self.faults[..self.faults.len().min(SHOWN_MAX)];
        let kept = self.kept.as_deref().unwrap_or(Path::new("-"));
        Some(format!(
            "{} promises were broken with seed {}:\n{}\nagain: {}\nwhat is left of it: {}",
            self.faults.len(),
            self.seed,
            shown.join("\n"),
            self.replay,
            kept.display()
        ))
    }
}

/// Leaves the report in the round's folder.
pub(crate) fn write(folder: &Path, report: &Report) -> Result<()> {
    let text = format!("{}\n{}\n", report.text(), report.faults.join("\n"));
    Ok(fs::write(folder.join("report.txt"), text)?)
}
