//! How long refs and their histories are kept: each ref's own settings, then the arguments, then
//! the table's properties, then Java's defaults.

use metadata::{Ref, RefKind, TableMetadata};

use super::options::GRACE_MS_MAX;
use super::{GRACE_KEY, Options, Refused};
use crate::option::whole;

const SNAPSHOT_AGE_KEY: &str = "history.expire.max-snapshot-age-ms";
/// 5 days.
const SNAPSHOT_AGE_DEFAULT_MS: i64 = 5 * 86_400_000;
const SNAPSHOTS_MIN_KEY: &str = "history.expire.min-snapshots-to-keep";
const SNAPSHOTS_MIN_DEFAULT: i32 = 1;
const REF_AGE_KEY: &str = "history.expire.max-ref-age-ms";
/// 24 hours.
const GRACE_DEFAULT_MS: i64 = 86_400_000;

/// What holds where a ref says nothing of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    now_ms: i64,
    /// Snapshots from before may go.
    pub(super) cutoff_ms: i64,
    snapshots_min: i32,
    ref_age_ms_max: i64,
    pub(super) grace_ms: i64,
}

/// How far back a branch's history is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) cutoff_ms: i64,
    pub(super) snapshots_min: i32,
}

impl Retention {
    /// Checks every setting of the table, also those the arguments replace.
    pub(super) fn of(
        table: &TableMetadata,
        now_ms: i64,
        options: &Options,
    ) -> Result<Self, Refused> {
        let age_ms = number(table, SNAPSHOT_AGE_KEY, (0, i64::MAX))?;
        let snapshots_min = number(table, SNAPSHOTS_MIN_KEY, (1, i64::from(i32::MAX)))?;
        let snapshots_min = snapshots_min.and_then(|min| i32::try_from(min).ok());
        // 0 would drop every branch and tag.
        let ref_age = number(table, REF_AGE_KEY, (1, i64::MAX))?;
        let grace = number(table, GRACE_KEY, (0, GRACE_MS_MAX))?;
        for (name, reference) in table.refs() {
            check(name, reference)?;
        }
        Ok(Self {
            now_ms,
            cutoff_ms: options.older_than_ms.unwrap_or_else(|| {
                now_ms.saturating_sub(age_ms.unwrap_or(SNAPSHOT_AGE_DEFAULT_MS))
            }),
            snapshots_min: options
                .retain_last
                .or(snapshots_min)
                .unwrap_or(SNAPSHOTS_MIN_DEFAULT),
            ref_age_ms_max: ref_age.unwrap_or(i64::MAX),
            grace_ms: options.grace_ms.or(grace).unwrap_or(GRACE_DEFAULT_MS),
        })
    }

    /// Whether a ref other than main, whose snapshot was made at `made_ms`, stays.
    pub(super) fn keeps(&self, reference: &Ref, made_ms: i64) -> bool {
        let age_ms = self.now_ms.saturating_sub(made_ms);
        age_ms <= reference.max_ref_age_ms.unwrap_or(self.ref_age_ms_max)
    }

    pub(super) fn walk(&self, branch: &Ref) -> Walk {
        Walk {
            cutoff_ms: branch
                .max_snapshot_age_ms
                .map_or(self.cutoff_ms, |age| self.now_ms.saturating_sub(age)),
            snapshots_min: branch.min_snapshots_to_keep.unwrap_or(self.snapshots_min),
        }
    }

    /// What a branch keeps by its own settings alone.
    pub(super) fn own_walk(&self, branch: &Ref) -> Walk {
        Walk {
            cutoff_ms: branch
                .max_snapshot_age_ms
                .map_or(i64::MAX, |age| self.now_ms.saturating_sub(age)),
            snapshots_min: branch.min_snapshots_to_keep.unwrap_or(1),
        }
    }
}

impl Walk {
    /// The part of a branch's history that is kept, newest first, each with whether only the
    /// count keeps it. Ends at the first snapshot neither count nor age keeps.
    pub(super) fn kept<'a>(
        &self,
        table: &'a TableMetadata,
        head: i64,
    ) -> impl Iterator<Item = (i64, bool)> + use<'a> {
        let Self {
            cutoff_ms,
            snapshots_min,
        } = *self;
        let counted = (0_i32..).map(move |kept| kept < snapshots_min);
        table
            .history(head)
            .zip(counted)
            .take_while(move |(snapshot, counted)| *counted || snapshot.timestamp_ms >= cutoff_ms)
            .map(move |(snapshot, _)| (snapshot.snapshot_id, snapshot.timestamp_ms < cutoff_ms))
    }
}

/// A property that is a whole number within bounds; `None` when the table has none.
fn number(
    table: &TableMetadata,
    key: &'static str,
    (min, max): (i64, i64),
) -> Result<Option<i64>, Refused> {
    let Some(value) = table.property(key) else {
        return Ok(None);
    };
    match whole(value.trim()) {
        Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => Err(Refused::Property {
            key,
            value: value.to_owned(),
            why: format!("must be a whole number from {min} to {max}"),
        }),
    }
}

/// Java lets nobody set these below 1.
fn check(name: &str, reference: &Ref) -> Result<(), Refused> {
    let refuse = |key, value, why| Refused::RefSetting {
        name: name.to_owned(),
        key,
        value,
        why,
    };
    let min = reference.min_snapshots_to_keep.map(i64::from);
    let settings = [
        ("min-snapshots-to-keep", min),
        ("max-snapshot-age-ms", reference.max_snapshot_age_ms),
        ("max-ref-age-ms", reference.max_ref_age_ms),
    ];
    for (key, value) in settings {
        if let Some(value) = value.filter(|value| *value < 1) {
            return Err(refuse(key, value, "must be at least 1"));
        }
    }
    if reference.kind == RefKind::Tag
        && let Some(min) = min
    {
        return Err(refuse(
            "min-snapshots-to-keep",
            min,
            "a tag keeps no history",
        ));
    }
    Ok(())
}
