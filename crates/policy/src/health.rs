//! How healthy a table is, and what would make it healthier.
//!
//! A score of 100 less what each [`Term`] loses. Every term's share grows with what is bad and
//! never shrinks, so more of anything bad never raises the score; together they may lose 100.
//! What no action could mend loses nothing: a small file alone in its partition is as it should be.

use model::Action;
use model::health::Facts;

use crate::{Effective, property};

#[cfg(test)]
mod tests;

/// The newest format version this version maintains.
const FORMAT_VERSION_MAX: u8 = 2;
/// Files a scan may open without anybody minding: below it a table is small, not sick.
const SCAN_FILES_MIN: f64 = 10.0;
/// Share of deleted rows at which all points of it are lost.
const DELETED_SHARE_WORST: f64 = 0.5;
/// Small manifests, bytes of metadata.json and snapshots past their retention at which half of
/// their points are lost.
const SMALL_MANIFESTS_HALF: f64 = 50.0;
const METADATA_BYTES_HALF: f64 = 8.0 * 1024.0 * 1024.0;
const EXPIRABLE_HALF: f64 = 50.0;
/// Small manifests that are worth a merge: how many a commit of Java's leaves before it merges them
/// itself (`commit.manifest.min-count-to-merge`).
const SMALL_MANIFESTS_MIN: u64 = 100;
/// Storage nobody minds wasting: 1 GiB, or as much as the table itself has.
const WASTE_BYTES_MIN: f64 = 1024.0 * 1024.0 * 1024.0;

/// A score and where its points went.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Assessment {
    /// 100 is healthy, 0 is not; absolute, so that tables compare.
    pub score: f64,
    /// Every way to lose points, also those that lost none, in a fixed order.
    pub terms: Vec<Term>,
    /// True when something is recommended.
    pub needs_maintenance: bool,
    /// In canonical order.
    pub recommended: Vec<Recommended>,
}

/// One way to lose points. Each maps to one action.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Term {
    /// One word.
    pub name: String,
    /// Points lost, at least 0.
    pub lost: f64,
    /// Of how many at most.
    pub at_most: f64,
    pub action: Action,
    /// For people: the numbers behind it.
    pub why: String,
}

/// An action worth doing, with its reasons.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recommended {
    pub action: Action,
    pub reasons: Vec<String>,
}

/// Judges facts. Reads nothing else; more of anything bad never raises the score.
pub fn assess(facts: &Facts, policy: &Effective) -> Assessment {
    let terms = vec![
        small_files(facts),
        delete_files(facts),
        deleted_rows(facts),
        small_manifests(facts),
        metadata_size(facts),
        expirable_snapshots(facts),
        expirable_bytes(facts),
        old_specs(facts),
    ];
    let lost: f64 = terms.iter().map(|term| term.lost).sum();
    let recommended = recommended(facts, policy);
    Assessment {
        score: rounded(100.0 - lost).clamp(0.0, 100.0),
        terms,
        needs_maintenance: !recommended.is_empty(),
        recommended,
    }
}

fn recommended(facts: &Facts, policy: &Effective) -> Vec<Recommended> {
    let mut recommended = Vec::new();
    let mut add = |action, reasons: Vec<String>| {
        if !reasons.is_empty() && facts.format_version <= FORMAT_VERSION_MAX {
            recommended.push(Recommended { action, reasons });
        }
    };
    add(Action::ExpireSnapshots, expire_reasons(facts, policy));
    add(Action::RewriteDataFiles, rewrite_reasons(facts, policy));
    add(Action::RewriteManifests, manifest_reasons(facts));
    recommended
}

fn expire_reasons(facts: &Facts, policy: &Effective) -> Vec<String> {
    let past = &facts.snapshot_stats;
    // How long an owner meant to keep them is not ours to guess: what is expired is gone.
    let unknown = [
        property::MAX_SNAPSHOT_AGE_DAYS,
        property::ICEBERG_SNAPSHOT_AGE,
    ]
    .iter()
    .any(|name| policy.unreadable(name).is_some());
    if past.expirable_count == 0 || unknown {
        return Vec::new();
    }
    vec![format!(
        "{} of {} snapshots are past their retention (max_snapshot_age_days {}); only they hold {}",
        number(past.expirable_count),
        number(facts.snapshot_count),
        policy.max_snapshot_age_days.value,
        size(past.expirable_bytes),
    )]
}

fn rewrite_reasons(facts: &Facts, policy: &Effective) -> Vec<String> {
    let files = &facts.file_stats;
    let mut reasons = Vec::new();
    let min = policy.min_input_files.value;
    if files.compactable_file_count >= u64::from(min.max(1)) {
        reasons.push(format!(
            "{} of {} data files are small and lie in partitions with at least {min} such files \
             (min_input_files)",
            number(files.compactable_file_count),
            number(files.total_data_files),
        ));
    }
    let heavy = facts.delete_stats.heavy_file_count;
    if heavy > 0 {
        reasons.push(format!(
            "{} with at least {} delete files or {:.0}% of the rows deleted \
             (rewrite_data_delete_file_threshold, rewrite_data_delete_ratio_threshold)",
            counted(heavy, "data file"),
            facts.thresholds.delete_file_threshold,
            facts.thresholds.delete_ratio_threshold * 100.0,
        ));
    }
    reasons
}

fn manifest_reasons(facts: &Facts) -> Vec<String> {
    let small = facts.manifest_stats.small_count;
    if small < SMALL_MANIFESTS_MIN {
        return Vec::new();
    }
    vec![format!(
        "{} of {} manifests are small (a merge is worth it from {SMALL_MANIFESTS_MIN})",
        number(small),
        number(facts.manifest_count),
    )]
}

/// Extra opens of a full scan.
fn small_files(facts: &Facts) -> Term {
    let files = &facts.file_stats;
    let left = files
        .small_file_count
        .saturating_sub(files.compactable_file_count);
    let why = format!(
        "{} of {} data files could be combined ({}, target {}); {} small {} left alone",
        number(files.compactable_file_count),
        number(files.total_data_files),
        size(files.compactable_bytes),
        size(files.target_file_size_bytes),
        number(left),
        if left == 1 { "one is" } else { "ones are" },
    );
    let share = part(files.compactable_file_count as f64, full_size_files(facts));
    term("small_files", share, 35.0, Action::RewriteDataFiles, why)
}

/// Delete files that scans open.
fn delete_files(facts: &Facts) -> Term {
    let count = facts.file_stats.total_delete_files;
    let why = format!(
        "{} ({}) to apply in a full scan",
        counted(count, "delete file"),
        size(facts.delete_stats.delete_bytes)
    );
    let share = part(count as f64, full_size_files(facts));
    term("delete_files", share, 15.0, Action::RewriteDataFiles, why)
}

/// Rows that scans read and throw away. Equality deletes are assumed to hit a row each.
fn deleted_rows(facts: &Facts) -> Term {
    let stats = &facts.delete_stats;
    let rows = stats
        .position_delete_records
        .saturating_add(stats.equality_delete_records);
    let share = match (rows, facts.total_records) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        (rows, of) => rows as f64 / of as f64,
    };
    let why = format!(
        "{} ({} by equality) for {} rows",
        counted(rows, "row delete"),
        number(stats.equality_delete_records),
        number(facts.total_records),
    );
    let share = share / DELETED_SHARE_WORST;
    term("deleted_rows", share, 10.0, Action::RewriteDataFiles, why)
}

/// Extra opens of every plan.
fn small_manifests(facts: &Facts) -> Term {
    let small = facts.manifest_stats.small_count;
    let why = format!(
        "{} of {} manifests are small ({} in all)",
        number(small),
        number(facts.manifest_count),
        size(facts.manifest_stats.total_bytes),
    );
    // One small manifest is what any small table has.
    let share = part(small.saturating_sub(1) as f64, SMALL_MANIFESTS_HALF);
    term(
        "small_manifests",
        share,
        10.0,
        Action::RewriteManifests,
        why,
    )
}

/// Read and parsed whenever a table is loaded; snapshots are most of it.
fn metadata_size(facts: &Facts) -> Term {
    let why = format!(
        "metadata.json has {} for {}",
        size(facts.metadata_bytes),
        counted(facts.snapshot_count, "snapshot"),
    );
    let share = part(facts.metadata_bytes as f64, METADATA_BYTES_HALF);
    term("metadata_size", share, 5.0, Action::ExpireSnapshots, why)
}

fn expirable_snapshots(facts: &Facts) -> Term {
    let count = facts.snapshot_stats.expirable_count;
    let why = format!(
        "{} of {} snapshots are past their retention",
        number(count),
        number(facts.snapshot_count),
    );
    let share = part(count as f64, EXPIRABLE_HALF);
    term(
        "expirable_snapshots",
        share,
        10.0,
        Action::ExpireSnapshots,
        why,
    )
}

fn expirable_bytes(facts: &Facts) -> Term {
    let (waste, live) = (
        facts.snapshot_stats.expirable_bytes,
        facts.file_stats.total_size_bytes,
    );
    let why = format!(
        "{} are held only by snapshots past their retention, beside {} in use",
        size(waste),
        size(live),
    );
    let share = part(waste as f64, (live as f64).max(WASTE_BYTES_MIN));
    term("expirable_bytes", share, 10.0, Action::ExpireSnapshots, why)
}

/// Files that a changed partition layout does not help to skip.
fn old_specs(facts: &Facts) -> Term {
    let count = facts.manifest_stats.old_spec_file_count;
    let why = format!(
        "{} of {} data files are laid out by an older partition spec",
        number(count),
        number(facts.file_stats.total_data_files),
    );
    let share = part(count as f64, full_size_files(facts));
    term("old_specs", share, 5.0, Action::RewriteDataFiles, why)
}

/// How many files of the target size would hold the table.
fn full_size_files(facts: &Facts) -> f64 {
    let target = facts.file_stats.target_file_size_bytes.max(1) as f64;
    (facts.file_stats.total_size_bytes as f64 / target).max(SCAN_FILES_MIN)
}

/// What `bad` is of it and `good` together: 0 to 1, half where both are equal.
fn part(bad: f64, good: f64) -> f64 {
    bad / (bad + good)
}

fn term(name: &str, share: f64, at_most: f64, action: Action, why: String) -> Term {
    let lost = rounded(at_most * share.clamp(0.0, 1.0));
    Term {
        name: name.to_owned(),
        lost,
        at_most,
        action,
        why,
    }
}

/// To hundredths: what a person reads adds up.
fn rounded(points: f64) -> f64 {
    (points * 100.0).round() / 100.0
}

/// `1,234,567`.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count))
}

/// `12.3 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}
