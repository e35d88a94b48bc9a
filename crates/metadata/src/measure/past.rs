//! What metadata.json tells of the past: snapshots an expiry would take, and other maintainers.
//!
//! The rules are those of Iceberg's `RemoveSnapshots`, as `planner::expire` has them; this is its
//! estimate and deletes nothing. A setting the planner would refuse makes nothing expirable.

use std::collections::{HashMap, HashSet};

use model::health::{Rival, SnapshotStats};

use crate::document::MAIN;
use crate::{Ref, RefKind, Snapshot, TableMetadata};

const GC_KEY: &str = "gc.enabled";
const SNAPSHOT_AGE_KEY: &str = "history.expire.max-snapshot-age-ms";
/// 5 days.
const SNAPSHOT_AGE_DEFAULT_MS: i64 = 5 * 86_400_000;
const SNAPSHOTS_MIN_KEY: &str = "history.expire.min-snapshots-to-keep";
const REF_AGE_KEY: &str = "history.expire.max-ref-age-ms";
const GRACE_KEY: &str = "snowpack.deletion-grace-ms";

/// A maintainer not seen for so long has gone: 7 days.
const RIVAL_WITHIN_MS: i64 = 7 * 86_400_000;
const RIVAL_CHARS_MAX: usize = 100;
/// Every snapshot of ours says so in keys that begin so.
const OURS: &str = "snowpack.";
/// Keys that tell whose a snapshot is where `engine-name` does not.
const TELLTALES: [(&str, &str); 4] = [
    ("spark.app.id", "spark"),
    ("flink.job-id", "flink"),
    ("trino_query_id", "trino"),
    ("app-id", "spark"),
];

/// Counts the snapshots that an expiry at `now_ms` would take, and what they hold. `max_age_ms`
/// goes over the table's own property; a branch's own settings go over both.
pub fn snapshot_stats(
    table: &TableMetadata,
    now_ms: i64,
    max_age_ms: Option<i64>,
) -> SnapshotStats {
    let oldest_snapshot_ms = table
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.timestamp_ms)
        .min();
    let Some(kept) = Retention::of(table, now_ms, max_age_ms).map(|rules| rules.kept(table)) else {
        return SnapshotStats {
            oldest_snapshot_ms,
            ..SnapshotStats::default()
        };
    };
    let expirable: HashSet<i64> = table
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.snapshot_id)
        .filter(|id| !kept.contains(id))
        .collect();
    SnapshotStats {
        oldest_snapshot_ms,
        expirable_count: expirable.len() as u64,
        expirable_bytes: held_only_by(table, &expirable),
    }
}

/// What holds where a ref says nothing of its own.
struct Retention {
    now_ms: i64,
    cutoff_ms: i64,
    snapshots_min: i64,
    ref_age_ms_max: i64,
}

impl Retention {
    /// `None` where no expiry would run.
    fn of(table: &TableMetadata, now_ms: i64, max_age_ms: Option<i64>) -> Option<Self> {
        let collected = table
            .property(GC_KEY)
            .is_none_or(|enabled| enabled.eq_ignore_ascii_case("true"));
        let age_ms = number(table, SNAPSHOT_AGE_KEY, SNAPSHOT_AGE_DEFAULT_MS, 0)?;
        number(table, GRACE_KEY, 0, 0)?;
        let ref_ok = |named: &Ref| {
            let settings = [
                named.min_snapshots_to_keep.map(i64::from),
                named.max_snapshot_age_ms,
                named.max_ref_age_ms,
            ];
            settings.into_iter().flatten().all(|setting| setting >= 1)
        };
        let rules = Self {
            now_ms,
            cutoff_ms: now_ms.saturating_sub(max_age_ms.unwrap_or(age_ms).max(0)),
            snapshots_min: number(table, SNAPSHOTS_MIN_KEY, 1, 1)?,
            ref_age_ms_max: number(table, REF_AGE_KEY, i64::MAX, 1)?,
        };
        // Its files are told apart by it.
        let named = !table.uuid().is_empty();
        (named && collected && table.refs().values().all(ref_ok)).then_some(rules)
    }

    /// The snapshots that stay.
    fn kept(&self, table: &TableMetadata) -> HashSet<i64> {
        let stays = |name: &str, named: &Ref| {
            let head = table.snapshot(named.snapshot_id);
            let age = head.map_or(0, |head| self.now_ms.saturating_sub(head.timestamp_ms));
            name == MAIN || age <= named.max_ref_age_ms.unwrap_or(self.ref_age_ms_max)
        };
        let mut kept = HashSet::new();
        let mut in_history = HashSet::new();
        for (_, named) in table
            .refs()
            .iter()
            .filter(|(name, named)| stays(name, named))
        {
            kept.insert(named.snapshot_id);
            in_history.insert(named.snapshot_id);
            if named.kind == RefKind::Branch {
                kept.extend(self.branch(table, named));
                let history = table.history(named.snapshot_id);
                in_history.extend(history.map(|snapshot| snapshot.snapshot_id));
            }
        }
        let young = table.snapshots().iter().filter(|snapshot| {
            !in_history.contains(&snapshot.snapshot_id) && snapshot.timestamp_ms >= self.cutoff_ms
        });
        kept.extend(young.map(|snapshot| snapshot.snapshot_id));
        kept
    }

    /// The newest of a branch, until neither count nor age keeps one.
    fn branch(&self, table: &TableMetadata, named: &Ref) -> Vec<i64> {
        let cutoff_ms = named
            .max_snapshot_age_ms
            .map_or(self.cutoff_ms, |age| self.now_ms.saturating_sub(age));
        let min = named
            .min_snapshots_to_keep
            .map_or(self.snapshots_min, i64::from);
        let history = table.history(named.snapshot_id).zip(0_i64..);
        history
            .take_while(|(snapshot, place)| *place < min || snapshot.timestamp_ms >= cutoff_ms)
            .map(|(snapshot, _)| snapshot.snapshot_id)
            .collect()
    }
}

/// A property that is a whole number of at least `min`; `None` when it is anything else.
fn number(table: &TableMetadata, key: &str, default: i64, min: i64) -> Option<i64> {
    match table.property(key) {
        None => Some(default),
        Some(value) => {
            let digits = value.trim().bytes().all(|byte| byte.is_ascii_digit());
            let number = value.trim().parse().ok().filter(|_| digits);
            number.filter(|number| *number >= min)
        }
    }
}

/// Bytes only the `expirable` snapshots hold, as far as summaries tell: what was removed by the
/// snapshot after each of them, and no more than they added where an older one stays; what an
/// abandoned line added.
fn held_only_by(table: &TableMetadata, expirable: &HashSet<i64>) -> u64 {
    let mut children = HashMap::<i64, u64>::new();
    for parent in table
        .snapshots()
        .iter()
        .filter_map(|s| s.parent_snapshot_id)
    {
        *children.entry(parent).or_default() += 1;
    }
    let mut counted = HashSet::new();
    let mut bytes = 0_u64;
    let stays = |snapshot: &&Snapshot| !expirable.contains(&snapshot.snapshot_id);
    // Lines that lead to a snapshot that stays first: what those hold is counted once, by them.
    for snapshot in table.snapshots().iter().filter(stays) {
        let removed = told(snapshot, "removed-files-size");
        let line = Line::up(table, snapshot.parent_snapshot_id, expirable, &mut counted);
        if line.length > 0 {
            let removed = removed.saturating_add(line.removed);
            bytes = bytes.saturating_add(line.freed(removed));
        }
    }
    let is_leaf = |snapshot: &&Snapshot| !children.contains_key(&snapshot.snapshot_id);
    for leaf in table.snapshots().iter().filter(is_leaf) {
        let start = Some(leaf.snapshot_id);
        let line = Line::up(table, start, expirable, &mut counted);
        bytes = bytes.saturating_add(line.added);
    }
    bytes
}

/// Expirable snapshots in a row, none counted before.
#[derive(Default)]
struct Line {
    length: usize,
    added: u64,
    removed: u64,
    /// It begins where the table did, or nobody knows what was before.
    whole: bool,
}

impl Line {
    fn up(
        table: &TableMetadata,
        from: Option<i64>,
        expirable: &HashSet<i64>,
        counted: &mut HashSet<i64>,
    ) -> Self {
        let mut line = Self {
            whole: true,
            ..Self::default()
        };
        let history = from.into_iter().flat_map(|id| table.history(id));
        for snapshot in history {
            let id = snapshot.snapshot_id;
            if !expirable.contains(&id) || !counted.insert(id) {
                line.whole = false;
                break;
            }
            line.length += 1;
            let added = told(snapshot, "added-files-size");
            let removed = told(snapshot, "removed-files-size");
            line.added = line.added.saturating_add(added);
            line.removed = line.removed.saturating_add(removed);
        }
        line
    }

    /// Of what was `removed`, the part that nothing before the line holds.
    fn freed(&self, removed: u64) -> u64 {
        if self.whole {
            removed
        } else {
            removed.min(self.added)
        }
    }
}

/// A count of a snapshot's summary; 0 where it does not tell.
fn told(snapshot: &Snapshot, key: &str) -> u64 {
    let value = snapshot.summary.get(key);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A name anybody may have written: neither endless nor with what Postgres cannot hold.
fn shown(name: &str) -> String {
    let shown = name.chars().filter(|char| !char.is_control());
    shown.take(RIVAL_CHARS_MAX).collect()
}

/// The newest snapshot, not too long ago, that rewrote files and is not ours.
pub(super) fn rival(table: &TableMetadata, now_ms: i64) -> Option<Rival> {
    let since = now_ms.saturating_sub(RIVAL_WITHIN_MS);
    let foreign = |snapshot: &&Snapshot| {
        let summary = &snapshot.summary;
        snapshot.timestamp_ms >= since
            && summary.get("operation").map(String::as_str) == Some("replace")
            && !summary.keys().any(|key| key.starts_with(OURS))
    };
    let newest = table
        .snapshots()
        .iter()
        .filter(foreign)
        .max_by_key(|snapshot| (snapshot.timestamp_ms, snapshot.snapshot_id))?;
    let summary = &newest.summary;
    let guess = || {
        let known = TELLTALES.iter().find(|(key, _)| summary.contains_key(*key));
        known.map_or("unknown", |(_, name)| name).to_owned()
    };
    Some(Rival {
        name: summary
            .get("engine-name")
            .map_or_else(guess, |name| shown(name)),
        snapshot_id: newest.snapshot_id,
        at_ms: newest.timestamp_ms,
    })
}
