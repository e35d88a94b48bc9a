//! A branch or tag that landed on an expiring snapshot just before the swap keeps its rows.
//!
//! A catalog that compares the whole table refuses the swap then. One that checks only the refs it
//! is told may drop a ref we never saw; so every metadata file between the one planned on and ours
//! is read. Such a ref's snapshot comes back as a new one on a branch of its own, nothing is
//! listed, and the action fails with the reason.

use std::collections::{BTreeMap, HashMap};

use catalog::{Catalog, Table};
use metadata::{
    ManifestFile, Ref, Requirement, Snapshot, TableMetadata, Update, read_manifest_list,
    write_manifest_list,
};
use planner::{Attempt, Expiring, OpenIntent, SwapError};
use storage::Location;

use super::candidates::snapshot as listed_by;
use crate::Error;
use crate::commit::snapshot::new_id;
use crate::commit::swap::{self, CatalogSwap, NewFile, Ready};
use crate::commit::{pause, retries};
use crate::files::place::Places;

/// Branches undone snapshots come back on; the old id follows.
const BRANCH: &str = "snowpack-undo-";
const UNDOES: &str = "snowpack.undoes-expiry-of";

/// Fails when a ref had landed on one of `gone`, after bringing it back, or when that cannot be
/// told. Either way the intent forgets the snapshots it is about: they are never listed.
pub(super) async fn check(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
    (open, gone, still_open): (&OpenIntent, &[Expiring], &[i64]),
) -> Result<(), Error> {
    let Some(landed) = landed(catalog, table, &open.intent.planned_location, gone).await? else {
        attempt.ledger.settle(open.id, still_open, None).await?;
        return Err(Error::Refused(format!(
            "snapshots were expired, but the table's metadata log no longer reaches {} by files \
             that can be read, so a branch or tag may have named one of them meanwhile; their \
             files are not listed for deletion, and `remove_orphan_files` may find them later",
            open.intent.planned_location
        )));
    };
    if landed.is_empty() {
        return Ok(());
    }
    let mut undone = Vec::new();
    for expiring in gone {
        if let Some(landed) = landed.get(&expiring.snapshot_id) {
            let branch = bring_back(catalog, table, attempt, (expiring, &landed.snapshot)).await?;
            undone.push(format!(
                "ref `{}` landed on snapshot {}, which is now branch `{branch}`",
                landed.name, expiring.snapshot_id
            ));
        }
    }
    let rest = open.intent.ids.iter().map(|expiring| expiring.snapshot_id);
    let rest: Vec<i64> = rest.filter(|id| !landed.contains_key(id)).collect();
    attempt.ledger.settle(open.id, &rest, None).await?;
    Err(Error::Refused(format!(
        "while snapshots were being expired, {}; nothing was listed for deletion",
        undone.join("; ")
    )))
}

/// A ref that named an expired snapshot before it went.
#[derive(Debug)]
struct Landed {
    name: String,
    snapshot: Snapshot,
}

/// By snapshot; `None` when the log does not reach back to the metadata file planned on.
async fn landed(
    catalog: &dyn Catalog,
    table: &Table,
    planned_location: &str,
    gone: &[Expiring],
) -> Result<Option<HashMap<i64, Landed>>, Error> {
    let same = |a: &str, b: &str| a == b || Location::parse(a).ok() == Location::parse(b).ok();
    let log = table.metadata.metadata_log();
    let Some(planned) = log
        .iter()
        .rposition(|e| same(&e.metadata_file, planned_location))
    else {
        return Ok(None);
    };
    let earlier = async |location: &str| {
        let read = catalog.earlier(table, location).await;
        read.map_err(|source| Error::Catalog {
            doing: "read an earlier metadata file",
            source,
        })
    };
    let Some(base) = earlier(planned_location).await? else {
        return Ok(None);
    };
    let mut landed = HashMap::new();
    for entry in &log[planned + 1..] {
        let Some(between) = earlier(&entry.metadata_file).await? else {
            return Ok(None);
        };
        for (name, reference) in between.refs() {
            let id = reference.snapshot_id;
            let planned = base
                .refs()
                .get(name)
                .is_some_and(|known| known.snapshot_id == id);
            let expired = gone.iter().any(|gone| gone.snapshot_id == id);
            if expired
                && !planned
                && let Some(snapshot) = between.snapshot(id)
            {
                let name = name.clone();
                let snapshot = snapshot.clone();
                landed.entry(id).or_insert(Landed { name, snapshot });
            }
        }
    }
    Ok(Some(landed))
}

/// Commits the state of an expired snapshot as a new one on a branch, with its manifests as they
/// are; the old id cannot be used again, for its sequence number lies behind.
async fn bring_back(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
    (expiring, old): (&Expiring, &Snapshot),
) -> Result<String, Error> {
    let branch = format!("{BRANCH}{}", old.snapshot_id);
    let manifests = read_manifest_list(&table.storage, &listed_by(expiring)).await;
    let manifests = manifests.map_err(|source| Error::Metadata {
        doing: "read the manifest list of a snapshot to bring back",
        source,
    })?;
    let mut tried = 0;
    loop {
        let base = catalog
            .load(&table.name)
            .await
            .map_err(|source| Error::Catalog {
                doing: "load the table",
                source,
            })?;
        if base.metadata.refs().contains_key(&branch) {
            return Ok(branch);
        }
        if tried > retries(&base) {
            let why = format!("branch `{branch}` could not be made");
            return Err(Error::Contended {
                attempts: tried,
                why,
            });
        }
        tried += 1;
        let ready = prepare((catalog, attempt), &base, &branch, (old, &manifests)).await?;
        let swap = CatalogSwap {
            catalog,
            prepared: &ready.prepared,
        };
        match attempt.ledger.commit(&swap, &ready.landed, None).await {
            Ok(()) => return Ok(branch),
            // Looked for at the start of the next round.
            Err(SwapError::Conflict(_) | SwapError::Unknown(_)) => {
                pause(&base, tried, attempt.signals).await;
            }
            Err(SwapError::Replaced) => return Err(Error::Replaced),
            Err(SwapError::Failed { advice, source }) => {
                return Err(Error::Swap { advice, source });
            }
        }
    }
}

async fn prepare(
    (catalog, attempt): (&dyn Catalog, &Attempt<'_>),
    base: &Table,
    branch: &str,
    (old, manifests): (&Snapshot, &[ManifestFile]),
) -> Result<Ready, Error> {
    let metadata = &base.metadata;
    let places = Places::new(metadata, attempt.attempt.as_str());
    let snapshot = again(base, old, attempt.ledger.now_ms().await?, &places);
    let (id, sequence_number) = (snapshot.snapshot_id, snapshot.sequence_number);
    let bytes = write_manifest_list(manifests, metadata, id, None, sequence_number);
    let list = NewFile {
        path: snapshot.manifest_list.clone(),
        bytes: bytes.map_err(|source| Error::Metadata {
            doing: "make the manifest list",
            source,
        })?,
        kind: "manifest_list",
    };
    let change = change(metadata, branch, snapshot);
    swap::prepare((catalog, attempt), base, change, vec![list], Vec::new()).await
}

/// The old snapshot under a new id, without a parent: its own may be gone too.
fn again(base: &Table, old: &Snapshot, now_ms: i64, places: &Places) -> Snapshot {
    let metadata = &base.metadata;
    let snapshot_id = new_id();
    let mut summary: BTreeMap<String, String> = old
        .summary
        .iter()
        .filter(|(key, _)| key.starts_with("total-"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    summary.insert("operation".to_owned(), "overwrite".to_owned());
    summary.insert(UNDOES.to_owned(), old.snapshot_id.to_string());
    let schema_id = old.schema_id.filter(|id| metadata.schema(*id).is_some());
    Snapshot {
        snapshot_id,
        parent_snapshot_id: None,
        sequence_number: match metadata.format_version() {
            1 => 0,
            _ => metadata.last_sequence_number() + 1,
        },
        timestamp_ms: now_ms.max(metadata.last_updated_ms()),
        manifest_list: places.manifest_list(snapshot_id),
        summary,
        schema_id: schema_id.or(Some(metadata.current_schema().schema_id)),
        ..Snapshot::default()
    }
}

fn change(
    metadata: &TableMetadata,
    branch: &str,
    snapshot: Snapshot,
) -> (Vec<Requirement>, Vec<Update>) {
    let requirements = vec![
        Requirement::AssertTableUuid {
            uuid: metadata.uuid().to_owned(),
        },
        Requirement::AssertRefSnapshotId {
            r#ref: branch.to_owned(),
            snapshot_id: None,
        },
    ];
    let set = Update::SetSnapshotRef {
        ref_name: branch.to_owned(),
        reference: Ref::branch(snapshot.snapshot_id),
    };
    (requirements, vec![Update::AddSnapshot { snapshot }, set])
}
