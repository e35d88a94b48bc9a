//! What must be there before the first claim: Postgres, our schema in it, the lane's calls, the
//! catalog. A connection that is lost before all of it is there is waited for like an absent one.

use std::sync::Arc;

use anyhow::Result;
use catalog::Catalog;
use queue::Calls;
use steward::start;
use tokio_util::sync::CancellationToken;

use crate::args::Args;

/// Connections beside one for each slot: the claim's and a finish's.
const CONNECTIONS_RESERVED: usize = 2;
/// Share of the jobs' memory, beside them, for metadata documents that are read.
const DOCUMENTS_SHARE: u64 = 2;

/// What the daemon works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) pool: pg::Pool,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) calls: Calls,
}

/// Opens all parts; `None` when told to stop meanwhile.
pub(crate) async fn open(args: &Args, stop: &CancellationToken) -> Result<Option<Parts>> {
    let storage = start::storage(&args.storage)?;
    let lake = (&storage, &args.storage);
    let connections = args.slots() + CONNECTIONS_RESERVED;
    start::within(args.start.within(), stop, async || {
        let pool = start::database(&args.database, connections, crate::NAME).await?;
        let pool = start::listening(pool, &args.listen, crate::NAME)?;
        let documents = args.memory_bytes() / DOCUMENTS_SHARE;
        let catalog = start::catalog(&args.catalog, &pool, lake, documents).await?;
        let calls = maintenance::queue().calls(&pool).await?;
        Ok(Parts {
            pool,
            catalog,
            calls,
        })
    })
    .await
}
