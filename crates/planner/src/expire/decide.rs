//! The decision: which snapshots and refs go.

use std::collections::{BTreeMap, HashMap, HashSet};

use metadata::{Ref, RefKind, Snapshot, TableMetadata};

use super::retention::Retention;
use super::{Options, Plan, Refused};
use crate::{Expiring, OpenIntent};

/// The branch that is never removed.
const MAIN: &str = "main";
const GC_KEY: &str = "gc.enabled";
/// The newest format version expired.
const FORMAT_VERSION_MAX: u8 = 2;
/// How far the clock may lie before the table's last update.
const CLOCK_SKEW_MS_MAX: i64 = 60_000;
/// What reading manifests takes, whatever the table holds.
const MEMORY_BYTES: u64 = 64 << 20;
/// What a snapshot takes while its files are looked for.
const SNAPSHOT_BYTES: u64 = 16 << 10;

const NAMED: &str = "named by a branch or tag";
const COUNTED: &str = "among the last of a branch";
const YOUNG: &str = "younger than the cutoff";
const UNREFERENCED: &str = "in no branch, younger than the cutoff";

/// Decides what to expire at `now_ms`. `open` are the expiries of the table not settled yet: a
/// snapshot asked for by id that one of them expired is done, not unknown.
pub fn plan(
    metadata: &TableMetadata,
    table: &str,
    metadata_location: &str,
    now_ms: i64,
    open: &[OpenIntent],
    options: &Options,
) -> Result<Plan, Refused> {
    let last_updated_ms = metadata.last_updated_ms();
    if now_ms < last_updated_ms.saturating_sub(CLOCK_SKEW_MS_MAX) {
        return Err(Refused::Clock {
            now_ms,
            last_updated_ms,
        });
    }
    let intended: HashSet<i64> = open
        .iter()
        .flat_map(|open| &open.intent.ids)
        .map(|expiring| expiring.snapshot_id)
        .collect();
    let mut options = options.clone();
    options
        .snapshot_ids
        .retain(|id| metadata.snapshot(*id).is_some() || !intended.contains(id));
    let mut plan = decide(metadata, now_ms, options)?;
    table.clone_into(&mut plan.table);
    metadata_location.clone_into(&mut plan.metadata_location);
    plan.open_intents = open.len() as u64;
    Ok(plan)
}

impl Plan {
    /// What of this plan can still be done on the table as it is now, by the same arguments and
    /// the same clock. Never more than was planned; an id asked for that is gone or got a ref is
    /// left out.
    pub fn again(
        &self,
        metadata: &TableMetadata,
        metadata_location: &str,
    ) -> Result<Self, Refused> {
        let retention = Retention::of(metadata, self.now_ms, &self.options)?;
        let named: HashSet<i64> = retained_refs(metadata, &retention)
            .values()
            .map(|reference| reference.snapshot_id)
            .collect();
        let mut options = self.options.clone();
        options
            .snapshot_ids
            .retain(|id| metadata.snapshot(*id).is_some() && !named.contains(id));
        let now = decide(metadata, self.now_ms, options)?;
        let planned: HashSet<i64> = self.expire.iter().map(|gone| gone.snapshot_id).collect();
        let mut again = Self {
            table: self.table.clone(),
            metadata_location: metadata_location.to_owned(),
            options: self.options.clone(),
            open_intents: self.open_intents,
            ..now
        };
        again
            .expire
            .retain(|gone| planned.contains(&gone.snapshot_id));
        // A ref that names another snapshot now is another ref.
        again.remove_refs.retain(|name| {
            self.remove_refs.contains(name) && self.refs.get(name) == again.refs.get(name)
        });
        let still: HashSet<i64> = metadata
            .refs()
            .iter()
            .filter(|(name, _)| !again.remove_refs.contains(name))
            .map(|(_, reference)| reference.snapshot_id)
            .collect();
        again
            .expire
            .retain(|gone| !still.contains(&gone.snapshot_id));
        Ok(again)
    }
}

fn decide(metadata: &TableMetadata, now_ms: i64, options: Options) -> Result<Plan, Refused> {
    if metadata.format_version() > FORMAT_VERSION_MAX {
        return Err(Refused::FormatVersion(metadata.format_version()));
    }
    if metadata.uuid().is_empty() {
        return Err(Refused::NoUuid);
    }
    // As Java reads it: whatever is not `true` is false.
    if let Some(enabled) = metadata.property(GC_KEY)
        && !enabled.eq_ignore_ascii_case("true")
    {
        return Err(Refused::GarbageKept(enabled.to_owned()));
    }
    let retention = Retention::of(metadata, now_ms, &options)?;
    let refs = retained_refs(metadata, &retention);
    check_asked(metadata, &refs, &retention, &options)?;
    let mut retained = retained(metadata, &refs, &retention);
    retained.retain(|id, reason| *reason == NAMED || !options.snapshot_ids.contains(id));
    let mut expire: Vec<&Snapshot> = metadata
        .snapshots()
        .iter()
        .filter(|snapshot| !retained.contains_key(&snapshot.snapshot_id))
        .collect();
    expire.sort_by_key(|snapshot| (snapshot.timestamp_ms, snapshot.snapshot_id));
    let mut kept = BTreeMap::<String, u64>::new();
    for reason in retained.values() {
        *kept.entry((*reason).to_owned()).or_default() += 1;
    }
    let named = metadata.refs().iter();
    Ok(Plan {
        table: String::new(),
        table_uuid: metadata.uuid().to_owned(),
        metadata_location: String::new(),
        now_ms,
        expire: expiring(metadata, &expire),
        remove_refs: named
            .clone()
            .filter(|(name, _)| !refs.contains_key(name.as_str()))
            .map(|(name, _)| name.clone())
            .collect(),
        remove_specs: Vec::new(),
        remove_schemas: Vec::new(),
        refs: named
            .map(|(name, reference)| (name.clone(), reference.snapshot_id))
            .collect(),
        kept,
        open_intents: 0,
        grace_ms: retention.grace_ms,
        memory_bytes: MEMORY_BYTES + SNAPSHOT_BYTES * metadata.snapshots().len() as u64,
        options,
    })
}

/// Main, and every other ref that is not older than it may be.
fn retained_refs<'a>(
    metadata: &'a TableMetadata,
    retention: &Retention,
) -> BTreeMap<&'a str, &'a Ref> {
    let young = |reference: &Ref| {
        let snapshot = metadata.snapshot(reference.snapshot_id);
        snapshot.is_none_or(|named| retention.keeps(reference, named.timestamp_ms))
    };
    metadata
        .refs()
        .iter()
        .filter(|(name, reference)| *name == MAIN || young(reference))
        .map(|(name, reference)| (name.as_str(), reference))
        .collect()
}

/// Ids asked for must be there, named by no ref, and not kept by a branch's own settings.
fn check_asked(
    metadata: &TableMetadata,
    refs: &BTreeMap<&str, &Ref>,
    retention: &Retention,
    options: &Options,
) -> Result<(), Refused> {
    let asked = &options.snapshot_ids;
    let unknown: Vec<String> = asked
        .iter()
        .filter(|id| metadata.snapshot(**id).is_none())
        .map(i64::to_string)
        .collect();
    if !unknown.is_empty() {
        return Err(Refused::UnknownSnapshots(unknown.join(", ")));
    }
    for (name, reference) in refs {
        let name = || (*name).to_owned();
        let id = reference.snapshot_id;
        if asked.contains(&id) {
            return Err(Refused::Referenced { id, name: name() });
        }
        let own =
            reference.min_snapshots_to_keep.is_some() || reference.max_snapshot_age_ms.is_some();
        if reference.kind == RefKind::Branch && own {
            let mut kept = retention.own_walk(reference).kept(metadata, id);
            if let Some((id, _)) = kept.find(|(id, _)| asked.contains(id)) {
                return Err(Refused::KeptByBranch { id, name: name() });
            }
        }
    }
    Ok(())
}

/// Every snapshot that stays unless it is asked for by id, with the first reason found.
fn retained(
    metadata: &TableMetadata,
    refs: &BTreeMap<&str, &Ref>,
    retention: &Retention,
) -> HashMap<i64, &'static str> {
    let mut retained = HashMap::new();
    let mut in_history = HashSet::new();
    for reference in refs.values() {
        retained.insert(reference.snapshot_id, NAMED);
    }
    for reference in refs.values() {
        let head = reference.snapshot_id;
        if reference.kind == RefKind::Tag {
            in_history.insert(head);
            continue;
        }
        in_history.extend(metadata.history(head).map(|snapshot| snapshot.snapshot_id));
        for (id, only_counted) in retention.walk(reference).kept(metadata, head) {
            let reason = if only_counted { COUNTED } else { YOUNG };
            retained.entry(id).or_insert(reason);
        }
    }
    for snapshot in metadata.snapshots() {
        let id = snapshot.snapshot_id;
        if !in_history.contains(&id) && snapshot.timestamp_ms >= retention.cutoff_ms {
            retained.entry(id).or_insert(UNREFERENCED);
        }
    }
    retained
}

fn expiring(metadata: &TableMetadata, snapshots: &[&Snapshot]) -> Vec<Expiring> {
    let mut statistics = HashMap::<i64, Vec<String>>::new();
    for file in metadata
        .statistics()
        .iter()
        .chain(metadata.partition_statistics())
    {
        let of = statistics.entry(file.snapshot_id).or_default();
        of.push(file.statistics_path.clone());
    }
    let expiring = |snapshot: &&Snapshot| Expiring {
        snapshot_id: snapshot.snapshot_id,
        manifest_list: snapshot.manifest_list.clone(),
        manifests: snapshot.manifests.clone(),
        statistics: statistics.remove(&snapshot.snapshot_id).unwrap_or_default(),
    };
    snapshots.iter().map(expiring).collect()
}
