//! The last step: files reserved and written, metadata prepared, swapped through the ledger.

use async_trait::async_trait;
use bytes::Bytes;
use catalog::{Catalog, Prepared, Table};
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Requirement, Update};
use planner::{Attempt, Reserved, Swap, SwapError};

use crate::Error;

/// Metadata files written at once.
const WRITES_MAX: usize = 8;

/// A metadata file that has its name and its bytes and is not written yet.
#[derive(Debug, Clone)]
pub(crate) struct NewFile {
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
    pub(crate) kind: &'static str,
}

/// A commit of which only the swap is missing.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) prepared: Prepared,
    /// Every file of the attempt the commit makes part of the table.
    pub(crate) landed: Vec<String>,
}

/// Swaps in the guard's transaction where the catalog lies in its database.
pub(crate) struct CatalogSwap<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) prepared: &'a Prepared,
}

#[async_trait]
impl Swap for CatalogSwap<'_> {
    async fn swap(&self, within: Option<&pg::Transaction<'_>>) -> Result<(), SwapError> {
        match self.catalog.swap(self.prepared, within).await {
            Ok(_) => Ok(()),
            Err(catalog::Error::Conflict { why, .. }) => Err(SwapError::Conflict(why)),
            Err(catalog::Error::Unknown { source, .. }) => Err(SwapError::Unknown(source)),
            Err(other) => Err(SwapError::Failed {
                advice: other.advice(),
                source: Box::new(other),
            }),
        }
    }
}

/// Reserves and writes `files` and the metadata file. A base that moved on meanwhile is left
/// for the swap to find out.
pub(crate) async fn prepare(
    (catalog, attempt): (&dyn Catalog, &Attempt<'_>),
    base: &Table,
    (requirements, updates): (Vec<Requirement>, Vec<Update>),
    files: Vec<NewFile>,
    mut landed: Vec<String>,
) -> Result<Ready, Error> {
    let location = catalog.next_metadata_location(base);
    let mut reserved: Vec<Reserved> = files
        .iter()
        .map(|file| Reserved {
            path: file.path.clone(),
            kind: file.kind,
        })
        .collect();
    reserved.extend(location.iter().map(|path| Reserved {
        path: path.clone(),
        kind: "metadata",
    }));
    let ledger = attempt.ledger;
    ledger.reserve(base.metadata.uuid(), &reserved).await?;
    landed.extend(reserved.into_iter().map(|file| file.path));
    landed.sort_unstable();
    landed.dedup();
    let writes = files.into_iter().map(|file| write(base, file));
    let writes: Vec<_> = writes.collect();
    stream::iter(writes)
        .buffer_unordered(WRITES_MAX)
        .try_collect::<()>()
        .await?;
    attempt.progress.alive();
    let prepared = catalog
        .prepare(base, requirements, updates, location)
        .await
        .map_err(|source| Error::Catalog {
            doing: "prepare the commit",
            source,
        })?;
    Ok(Ready { prepared, landed })
}

async fn write(base: &Table, file: NewFile) -> Result<(), Error> {
    base.storage
        .write_new(&file.path, file.bytes)
        .await
        .map_err(|source| Error::Storage {
            doing: "write a metadata file",
            source,
        })
}
