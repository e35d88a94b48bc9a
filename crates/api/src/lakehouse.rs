//! The catalog, opened when it is first needed: the API answers from Postgres without it.

use std::sync::Arc;

use catalog::Catalog;
use pg::Pool;
use storage::Storage;
use tokio::sync::OnceCell;

use crate::args::Serve;

/// What the settings say of the catalog, and the catalog once somebody asked for it.
#[derive(Debug)]
pub(crate) struct Lakehouse {
    args: catalog::Args,
    storage: Storage,
    access: storage::Args,
    database: Pool,
    opened: OnceCell<Arc<dyn Catalog>>,
}

impl Lakehouse {
    /// Refuses settings of storage that cannot be.
    pub(crate) fn new(args: &Serve, database: &Pool) -> Result<Self, runtime::Error> {
        let refused = |error: storage::Error| runtime::Error::Usage(error.to_string());
        Ok(Self {
            args: args.catalog.clone(),
            storage: Storage::new(&args.storage).map_err(refused)?,
            access: args.storage.clone(),
            database: database.clone(),
            opened: OnceCell::new(),
        })
    }

    /// The catalog. One that could not be opened is tried again at the next call.
    pub(crate) async fn catalog(&self) -> Result<Arc<dyn Catalog>, catalog::Error> {
        let memory_bytes = steward::start::memory_bytes();
        let (database, lake) = (Some(&self.database), (&self.storage, &self.access));
        let open = || catalog::open(&self.args, database, lake, memory_bytes);
        self.opened.get_or_try_init(open).await.map(Arc::clone)
    }
}
