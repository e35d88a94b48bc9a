//! What commands connect to: Postgres, the catalog, storage, the engine.

use std::sync::Arc;

use anyhow::Result;
use catalog::Catalog;
use pg::Pool;
use planner::{Engine, Records};
use storage::Storage;

use crate::args::{Lakehouse, MaybeDatabase};
use crate::records::Local;

const APPLICATION: &str = "snowpack";
/// Connections of a command that only reads.
const CONNECTIONS_MAX: usize = 2;
/// Share of the memory for metadata documents that are read; jobs take the rest.
const DOCUMENTS_SHARE: u64 = 2;

/// Connects to the database a command cannot do without.
pub(crate) async fn database(args: &pg::Args) -> Result<Pool> {
    connect(&args.database_url, args.connections_max.get() as usize).await
}

/// Like [`database`], and refuses a schema that is absent, too old or too new for this version.
pub(crate) async fn migrated(args: &pg::Args) -> Result<Pool> {
    let pool = database(args).await?;
    let found = pg::schema_state(&pool, maintenance::SCHEMA).await?;
    let ours = maintenance::SCHEMA_VERSION;
    match found {
        None => anyhow::bail!(
            "the database has no schema `{}` yet; run `snowpack migrate`",
            maintenance::SCHEMA
        ),
        Some(state) if state.version < ours => anyhow::bail!(
            "the database's schema is at version {}, this program needs {ours}; run `snowpack migrate`",
            state.version
        ),
        Some(state) if ours < state.oldest_binary_schema => anyhow::bail!(
            "the database's schema needs programs of schema version {} or later, this one has {ours}; upgrade snowpack",
            state.oldest_binary_schema
        ),
        Some(_) => Ok(pool),
    }
}

/// Connects when a database is given; the catalog says so when it needs one that is not.
pub(crate) async fn maybe_database(args: &MaybeDatabase) -> Result<Option<Pool>> {
    match &args.database_url {
        Some(url) => Ok(Some(connect(url, CONNECTIONS_MAX).await?)),
        None => Ok(None),
    }
}

/// Opens the catalog. What its settings ask for and this version does not do is bad usage.
pub(crate) async fn catalog(args: &Lakehouse, database: Option<&Pool>) -> Result<Arc<dyn Catalog>> {
    let storage = Storage::new(&args.storage).map_err(|error| usage(&error))?;
    let lake = (&storage, &args.storage);
    let documents = runner::memory_bytes() / DOCUMENTS_SHARE;
    catalog::open(&args.catalog, database, lake, documents)
        .await
        .map_err(|error| match error {
            catalog::Error::Unsupported(_) => usage(&error),
            error => anyhow::Error::new(error).context("open the catalog"),
        })
}

/// What is known of tables beside the catalog.
pub(crate) fn records(database: Option<&Pool>, catalog: &str) -> Box<dyn Records> {
    match database {
        Some(pool) => Box::new(runner::PoolRecords::new(pool.clone(), catalog.to_owned())),
        None => Box::new(Local),
    }
}

/// The engine that plans and executes.
pub(crate) fn engine(catalog: Arc<dyn Catalog>) -> Arc<dyn Engine> {
    Arc::new(lake::NativeEngine::new(catalog))
}

async fn connect(url: &str, connections_max: usize) -> Result<Pool> {
    Pool::connect(url, connections_max, APPLICATION)
        .await
        .map_err(|error| match error {
            pg::Error::BadUrl { .. } => {
                runtime::Error::Usage(format!("SNOWPACK_DATABASE_URL: {error}")).into()
            }
            error => error.into(),
        })
}

fn usage(error: &dyn std::error::Error) -> anyhow::Error {
    runtime::Error::Usage(error.to_string()).into()
}
