//! What a job is predicted to cost: memory x time, in GB-hours. A GB is 10^9 bytes.
//!
//! An upper estimate from facts alone, made before any plan: good enough to compare tables and to
//! keep a run within a budget, not to bill by.

use model::Action;
use model::health::Facts;

use crate::effective::Effective;
use crate::health::Recommended;

const GB: f64 = 1e9;
const HOUR_SECONDS: f64 = 3_600.0;

/// Rewriting one GB. Measured (README, "How fast"): 194 MB in 2.8 s with 802 MiB on 2 cores, which
/// is 0.841 GB x 2.8 s / 0.194 GB = 12.1 GB-seconds. Both memory and time are the plan's to bound;
/// their product grows with the bytes.
pub const REWRITE_GB_HOURS_PER_GB: f64 = 12.1 / HOUR_SECONDS;
/// Claim, load, commit and finish: some seconds of a worker that holds little.
pub const JOB_GB_HOURS: f64 = 0.1 * 10.0 / HOUR_SECONDS;
/// What reading manifests holds (`planner` plans 64 MiB for it).
const MANIFESTS_GB: f64 = 0.067;
/// Reading the manifest list and new manifests of one snapshot from an object store.
const SNAPSHOT_SECONDS: f64 = 0.1;
/// Deleting one file; several go at once.
const DELETE_SECONDS: f64 = 0.01;
/// Manifests are read, and written, so fast.
const MANIFEST_BYTES_PER_SECOND: f64 = 10e6;

/// What a job of these actions costs. `facts` are `None` for a table never measured.
pub fn cost(
    facts: Option<&Facts>,
    policy: &Effective,
    due_deletion_count: u64,
    actions: &[Recommended],
) -> f64 {
    let nothing = Facts::default();
    let facts = facts.unwrap_or(&nothing);
    let seconds = |count: u64, each: f64| MANIFESTS_GB * count as f64 * each / HOUR_SECONDS;
    let manifests = MANIFESTS_GB * facts.manifest_stats.total_bytes as f64
        / MANIFEST_BYTES_PER_SECOND
        / HOUR_SECONDS;
    let of = |action: Action| match action {
        Action::RewriteDataFiles => {
            manifests + rewritten_bytes(facts, policy) / GB * REWRITE_GB_HOURS_PER_GB
        }
        Action::RewritePositionDeleteFiles => {
            manifests + facts.delete_stats.delete_bytes as f64 / GB * REWRITE_GB_HOURS_PER_GB
        }
        Action::ExpireSnapshots => seconds(facts.snapshot_stats.expirable_count, SNAPSHOT_SECONDS),
        Action::PurgePending => manifests + seconds(due_deletion_count, DELETE_SECONDS),
        // Reads every manifest and writes some.
        Action::RemoveDanglingDeletes | Action::RewriteManifests => 2.0 * manifests,
        // Lists every file there is, a thousand in about a second.
        Action::RemoveOrphanFiles => manifests + seconds(facts.file_stats.total_data_files, 1e-3),
    };
    let of_actions: f64 = actions.iter().map(|wanted| of(wanted.action)).sum();
    JOB_GB_HOURS + of_actions
}

/// Bytes a rewrite reads. Which data files deletes apply to is not among the facts: a position
/// delete file is taken to hit one file, equality deletes to hit all.
fn rewritten_bytes(facts: &Facts, policy: &Effective) -> f64 {
    let files = &facts.file_stats;
    let total = files.total_size_bytes as f64;
    let data = if policy.rewrite_data_rewrite_all.value
        || facts.delete_stats.equality_delete_records > 0
    {
        total
    } else {
        let hit = files.total_delete_files as f64 * files.avg_file_size_bytes as f64;
        (files.compactable_bytes as f64 + hit).min(total.max(files.compactable_bytes as f64))
    };
    data + facts.delete_stats.delete_bytes as f64
}
