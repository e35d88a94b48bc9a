//! What a plan of `rewrite_manifests` needs: the list of the current snapshot's manifests, and what
//! the entries of those it may merge are encoded as.

use catalog::Table;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{ManifestFile, Shape, TableMetadata, check_codec, read_manifest_list};
use planner::manifests::{Chosen, Options, Plan, plan as decide};
use storage::Storage;

use crate::{Error, MANIFESTS_AT_ONCE};

/// What would be merged in the current snapshot. Changes nothing.
pub async fn plan(table: &Table, options: &Options) -> Result<Plan, Error> {
    let (storage, metadata) = (&table.storage, &table.metadata);
    let failed = |source| Error::Metadata {
        doing: "look at the table's manifests",
        source,
    };
    let manifests = match metadata.current_snapshot() {
        None => Vec::new(),
        Some(current) => read_manifest_list(storage, current).await.map_err(failed)?,
    };
    let chosen = Chosen::of(metadata, &manifests, options)?;
    check_codec(metadata).map_err(failed)?;
    let reads: Vec<_> = chosen
        .manifests
        .iter()
        .map(|manifest| shape(storage, manifest, metadata))
        .collect();
    let shapes: Vec<Result<Shape, String>> = stream::iter(reads)
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await
        .map_err(failed)?;
    let key = table.name.key();
    Ok(decide(metadata, &key, chosen, &shapes, options))
}

/// Or why this version cannot carry the manifest's entries.
async fn shape(
    storage: &Storage,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<Result<Shape, String>, metadata::Error> {
    match Shape::read(storage, manifest, table).await {
        Ok(shape) => Ok(Ok(shape)),
        Err(metadata::Error::Unsupported(why)) => Ok(Err(why)),
        Err(error) => Err(error),
    }
}
