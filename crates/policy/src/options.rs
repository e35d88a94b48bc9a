//! What the effective policy asks of each action, in the words of the planner's options.
//!
//! A job carries all that the policy decided, so that its record says under which policy it ran.
//! Two options are left out when the engine reads the same from the table itself (source
//! `iceberg`): the target size and the age of snapshots.

use std::collections::BTreeMap;

use model::Action;

use crate::decide::DAY_MS;
use crate::effective::{Effective, Source};

/// The options of one action; none for those that have nothing to ask.
pub(crate) fn of(action: Action, policy: &Effective, now_ms: i64) -> BTreeMap<String, String> {
    let options: Vec<(&str, String)> = match action {
        Action::RewriteDataFiles => rewrite(policy),
        Action::ExpireSnapshots => expire(policy, now_ms),
        Action::RewritePositionDeleteFiles
        | Action::RemoveDanglingDeletes
        | Action::RewriteManifests
        | Action::RemoveOrphanFiles
        | Action::PurgePending => Vec::new(),
    };
    options
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn rewrite(policy: &Effective) -> Vec<(&'static str, String)> {
    let mut options = vec![
        ("min-input-files", policy.min_input_files.value.to_string()),
        (
            "delete-file-threshold",
            policy.rewrite_data_delete_file_threshold.value.to_string(),
        ),
        (
            "delete-ratio-threshold",
            policy.rewrite_data_delete_ratio_threshold.value.to_string(),
        ),
        // Health counts them, and this is the only action here that can drop them.
        ("remove-dangling-deletes", "true".to_owned()),
    ];
    if policy.target_file_size_bytes.source != Source::Iceberg {
        let target = policy.target_file_size_bytes.value;
        options.push(("target-file-size-bytes", target.to_string()));
    }
    if policy.rewrite_data_rewrite_all.value {
        options.push(("rewrite-all", "true".to_owned()));
    }
    let commits_max = policy.partial_progress_max_commits.value;
    if commits_max > 1 {
        options.push(("partial-progress.enabled", "true".to_owned()));
        options.push(("partial-progress.max-commits", commits_max.to_string()));
        // One hot partition does not keep the others from being rewritten; when every commit
        // failed, the action has.
        let failed_max = commits_max - 1;
        options.push((
            "partial-progress.max-failed-commits",
            failed_max.to_string(),
        ));
    }
    options
}

fn expire(policy: &Effective, now_ms: i64) -> Vec<(&'static str, String)> {
    let age = &policy.max_snapshot_age_days;
    if age.source == Source::Iceberg {
        return Vec::new();
    }
    let older_than_ms = now_ms.saturating_sub((age.value * DAY_MS) as i64).max(0);
    vec![("older_than", older_than_ms.to_string())]
}
