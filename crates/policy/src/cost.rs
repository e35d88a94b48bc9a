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

/// Bytes a rewrite reads: small files, and files with many deletes, taken to be of average size.
fn rewritten_bytes(facts: &Facts, policy: &Effective) -> f64 {
    let files = &facts.file_stats;
    let total = files.total_size_bytes as f64;
    if policy.rewrite_data_rewrite_all.value {
        return total + facts.delete_stats.delete_bytes as f64;
    }
    let small = files.compactable_bytes as f64;
    let heavy = facts.delete_stats.heavy_file_count as f64 * files.avg_file_size_bytes as f64;
    // A file may be both.
    (small + heavy).min(total.max(small)) + facts.delete_stats.delete_bytes as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{facts, sick};

    fn of(facts: &Facts, policy: &Effective, due: u64, actions: &[Action]) -> f64 {
        let wanted = |action: &Action| Recommended {
            action: *action,
            reasons: Vec::new(),
        };
        let actions: Vec<Recommended> = actions.iter().map(wanted).collect();
        cost(Some(facts), policy, due, &actions)
    }

    #[test]
    fn a_rewrite_costs_what_was_measured() {
        let (mut facts, policy) = (facts(), sick().policy());
        facts.file_stats.compactable_bytes = 194_000_000;
        let got = of(&facts, &policy, 0, &[Action::RewriteDataFiles]) - JOB_GB_HOURS;
        let measured = 0.841 * 2.8 / HOUR_SECONDS;
        assert!((got / measured - 1.0).abs() < 0.01, "{got} and {measured}");
    }

    #[test]
    fn a_table_never_measured_costs_a_job_at_least() {
        let got = cost(None, &sick().policy(), 0, &[]);
        assert!((got - JOB_GB_HOURS).abs() < 1e-12, "{got}");
    }

    #[test]
    fn files_with_many_deletes_are_read_and_rewrite_all_reads_the_whole_table() {
        let (mut facts, policy) = (facts(), sick().policy());
        let gb = |facts: &Facts, policy: &Effective| {
            let cost = of(facts, policy, 0, &[Action::RewriteDataFiles]);
            (cost - JOB_GB_HOURS) / REWRITE_GB_HOURS_PER_GB
        };
        assert!((gb(&facts, &policy) - 1.0).abs() < 1e-9);
        facts.delete_stats.heavy_file_count = 50;
        assert!((gb(&facts, &policy) - 1.5).abs() < 1e-9);
        facts.delete_stats.heavy_file_count = 400;
        assert!((gb(&facts, &policy) - 4.0).abs() < 1e-9, "no more than all");
        facts.delete_stats.heavy_file_count = 0;
        let all = sick().table("snowpack.rewrite_data_rewrite_all", "true");
        assert!((gb(&facts, &all.policy()) - 4.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_facts_have_a_cost_and_more_work_never_costs_less(
            sizes in prop::array::uniform8(any::<u64>()), due: u64,
        ) {
            let policy = sick().policy();
            let mut facts = Facts::default();
            facts.file_stats.total_size_bytes = sizes[0];
            facts.file_stats.compactable_bytes = sizes[1];
            facts.delete_stats.heavy_file_count = sizes[2];
            facts.file_stats.avg_file_size_bytes = sizes[3];
            facts.file_stats.total_data_files = sizes[4];
            facts.delete_stats.delete_bytes = sizes[5];
            facts.snapshot_stats.expirable_count = sizes[6];
            facts.manifest_stats.total_bytes = sizes[7];
            let mut before = 0.0;
            for count in 0..=Action::ALL.len() {
                let cost = of(&facts, &policy, due, &Action::ALL[..count]);
                prop_assert!(cost.is_finite() && cost >= before, "{cost} after {before}");
                before = cost;
            }
            let mut more = facts.clone();
            more.file_stats.compactable_bytes = sizes[1].saturating_add(1_000_000_000);
            let rewrite = &[Action::RewriteDataFiles];
            prop_assert!(of(&more, &policy, due, rewrite) >= of(&facts, &policy, due, rewrite));
        }
    }
}
