//! What earlier rewrites of the table tell: how much they compressed, and what they left as it is.

use std::collections::HashMap;

use metadata::{LiveFile, Snapshot, TableMetadata};
use model::Action;

use super::RULES_KEY;

/// Snapshot summary keys every commit of ours sets.
const JOB_KEY: &str = "snowpack.job-id";
const ACTION_KEY: &str = "snowpack.action";

/// Snapshots looked back through for an observation.
const LOOK_BACK_MAX: usize = 1_000;
/// Observed ratios are trusted within these bounds, in thousandths.
const RATIO_MIN: u64 = 100;
const RATIO_MAX: u64 = 1_500;
/// In thousandths: what nobody has observed is taken to stay as it is.
const RATIO_UNKNOWN: u64 = 1_000;

/// Earlier rewrites.
#[derive(Debug)]
pub(super) struct History<'a> {
    /// Every rewrite still known: snapshot id to the job that committed it, if it went by the
    /// rules given.
    rewrites: HashMap<i64, Option<&'a str>>,
    /// Sequence number, and bytes per row after the rewrite over bytes per row before it, in
    /// thousandths; newest first.
    ratios: Vec<(i64, u64)>,
}

impl<'a> History<'a> {
    pub(super) fn of(table: &'a TableMetadata, rules: &str) -> Self {
        let job = |snapshot: &'a Snapshot| {
            let by_these_rules = value(snapshot, RULES_KEY) == Some(rules);
            by_these_rules.then(|| value(snapshot, JOB_KEY))?
        };
        let rewrites = table
            .snapshots()
            .iter()
            .filter(|snapshot| rewrote(snapshot));
        let rewrites = rewrites
            .map(|snapshot| (snapshot.snapshot_id, job(snapshot)))
            .collect();
        let current = table.current_snapshot().into_iter();
        let ratios = current
            .flat_map(|snapshot| table.history(snapshot.snapshot_id))
            .take(LOOK_BACK_MAX)
            .filter_map(|snapshot| Some((snapshot.sequence_number, observed(snapshot)?)))
            .collect();
        Self { rewrites, ratios }
    }

    /// The job that wrote the file by these very rules, if one did.
    pub(super) fn job_of(&self, file: &LiveFile) -> Option<&'a str> {
        self.rewrites.get(&file.snapshot_id?).copied()?
    }

    /// The size `bytes` of a small file's rows are expected to have once rewritten, by what was
    /// known when the file was added: what is learnt later does not unsettle a plan made before.
    /// What a rewrite wrote is as small as it gets.
    pub(super) fn compressed(&self, bytes: u64, file: &LiveFile) -> u64 {
        if file
            .snapshot_id
            .is_some_and(|added_by| self.rewrites.contains_key(&added_by))
        {
            return bytes;
        }
        let known = self
            .ratios
            .iter()
            .find(|(at, _)| *at <= file.file_sequence_number);
        let ratio = known.map_or(RATIO_UNKNOWN, |(_, ratio)| *ratio);
        u64::try_from(u128::from(bytes) * u128::from(ratio) / 1_000).unwrap_or(u64::MAX)
    }
}

fn value<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a str> {
    snapshot.summary.get(key).map(String::as_str)
}

fn rewrote(snapshot: &Snapshot) -> bool {
    value(snapshot, "operation") == Some("replace")
        && value(snapshot, ACTION_KEY) == Some(Action::RewriteDataFiles.as_str())
}

/// The ratio one snapshot shows. One that also removed delete files shows none: their bytes are
/// part of its `removed-files-size`.
fn observed(snapshot: &Snapshot) -> Option<u64> {
    let number = |key| value(snapshot, key)?.parse::<u128>().ok();
    if !rewrote(snapshot) || number("removed-delete-files").is_some_and(|files| files > 0) {
        return None;
    }
    let product = |a, b| number(a)?.checked_mul(number(b)?);
    let after = product("added-files-size", "deleted-records")?.checked_mul(1_000)?;
    let before = product("removed-files-size", "added-records")?;
    let ratio = u64::try_from(after.checked_div(before)?).unwrap_or(u64::MAX);
    Some(ratio.clamp(RATIO_MIN, RATIO_MAX))
}
