//! What must be there before the first claim: Postgres, our schema in it, the catalog.
//!
//! Pods start in any order, so what may still come up is waited for, within a limit; what
//! cannot heal (a wrong password, a bad setting) ends the process at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use catalog::Catalog;
use model::Advice;
use storage::Storage;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::args::Args;

/// Connections beside one for each slot: the claim's and a finish's.
const CONNECTIONS_RESERVED: usize = 2;
/// First pause between two tries; doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What the daemon works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) pool: pg::Pool,
    pub(crate) catalog: Arc<dyn Catalog>,
}

/// The database is there, our tables are not, or are older than this program.
#[derive(Debug, thiserror::Error)]
#[error(
    "schema {} is {found} in the database and version {} is needed: run `snowpack migrate`",
    maintenance::SCHEMA,
    maintenance::SCHEMA_VERSION
)]
struct NotMigrated {
    found: String,
}

/// Opens all parts; `None` when told to stop meanwhile.
pub(crate) async fn open(args: &Args, stop: &CancellationToken) -> Result<Option<Parts>> {
    let storage = Storage::new(&args.storage).map_err(usage)?;
    let deadline = Instant::now() + args.start_within();
    let mut pause = PAUSE_MIN;
    loop {
        let tried = tokio::select! {
            tried = parts(args, &storage) => tried,
            () = stop.cancelled() => return Ok(None),
        };
        let error = match tried {
            Ok(parts) => return Ok(Some(parts)),
            Err(error) => error,
        };
        if !passing(&error) || deadline <= Instant::now() {
            return Err(error);
        }
        if pause == PAUSE_MIN {
            let why = runtime::chain(error.as_ref());
            warn!(
                why,
                seconds_max = args.start_within().as_secs(),
                "waiting to start"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn parts(args: &Args, storage: &Storage) -> Result<Parts> {
    let asked = usize::try_from(args.database.connections_max.get()).unwrap_or(usize::MAX);
    let connections = asked.max(args.slots() + CONNECTIONS_RESERVED);
    let pool = pg::Pool::connect(&args.database.database_url, connections, crate::NAME)
        .await
        .map_err(|error| match error {
            pg::Error::BadUrl { .. } => usage(format!(
                "environment variable SNOWPACK_DATABASE_URL: {error}"
            )),
            error => error.into(),
        })?;
    check_schema(&pool).await?;
    let warehouse = args.storage.warehouse.as_deref();
    let catalog = catalog::open(&args.catalog, Some(&pool), storage, warehouse)
        .await
        .map_err(|error| match error {
            catalog::Error::Unsupported(_) => usage(error),
            error => anyhow::Error::from(error).context("open the catalog"),
        })?;
    Ok(Parts { pool, catalog })
}

/// A schema newer than this program is fine until it says that it is too new for it.
async fn check_schema(pool: &pg::Pool) -> Result<()> {
    let Some(state) = pg::schema_state(pool, maintenance::SCHEMA).await? else {
        return Err(NotMigrated {
            found: "not".to_owned(),
        }
        .into());
    };
    if maintenance::SCHEMA_VERSION < state.oldest_binary_schema {
        return Err(pg::Error::SchemaTooNew {
            schema: maintenance::SCHEMA.to_owned(),
            version: state.version,
            oldest: state.oldest_binary_schema,
            known: maintenance::SCHEMA_VERSION,
        }
        .into());
    }
    if state.version < maintenance::SCHEMA_VERSION {
        return Err(NotMigrated {
            found: format!("at version {}", state.version),
        }
        .into());
    }
    Ok(())
}

fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    runtime::Error::Usage(error.to_string()).into()
}

/// True when trying again may help.
fn passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let pg = cause.downcast_ref().map(pg::Error::advice);
        let catalog = cause.downcast_ref().map(catalog::Error::advice);
        pg.or(catalog) == Some(Advice::RetryLater) || cause.is::<NotMigrated>()
    })
}
