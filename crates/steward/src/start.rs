//! What must be there before a program begins: Postgres, our schema in it, the catalog.
//!
//! Pods start in any order, so what may still come up is waited for, within a limit; what
//! cannot heal (a wrong password, a bad setting) ends the process at once. Start at [`within`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use catalog::Catalog;
use model::Advice;
use pg::Pool;
pub use runner::memory_bytes;
use storage::Storage;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// First pause between two tries; doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a start may take
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct StartArgs {
    /// At start, time Postgres may take to come up, 0 to 3600
    #[arg(
        long,
        env = "SNOWPACK_START_SECONDS",
        default_value = "30",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=3_600)
    )]
    start_seconds: u64,
}

impl StartArgs {
    pub fn within(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }
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

/// Tries `open` until it succeeds, cannot heal, or `limit` is over; `None` when told to stop
/// meanwhile.
pub async fn within<T>(
    limit: Duration,
    stop: &CancellationToken,
    open: impl AsyncFn() -> Result<T>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    let mut pause = PAUSE_MIN;
    loop {
        let tried = tokio::select! {
            tried = open() => tried,
            () = stop.cancelled() => return Ok(None),
        };
        let error = match tried {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        };
        if !passing(&error) || deadline <= Instant::now() {
            return Err(error);
        }
        if pause == PAUSE_MIN {
            let why = runtime::chain(error.as_ref());
            warn!(why, seconds_max = limit.as_secs(), "waiting to start");
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(pause.min(left)) => {}
            () = stop.cancelled() => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Connects, with at least `connections` of them, and refuses a schema this program cannot use.
pub async fn database(args: &pg::Args, connections: usize, program: &str) -> Result<Pool> {
    let pool = connect(args, connections, program).await?;
    check_schema(&pool).await?;
    Ok(pool)
}

/// Connects, with at least `connections` of them, whatever is in the database.
pub async fn connect(args: &pg::Args, connections: usize, program: &str) -> Result<Pool> {
    let asked = usize::try_from(args.connections_max.get()).unwrap_or(usize::MAX);
    Pool::connect(&args.database_url, asked.max(connections), program)
        .await
        .map_err(|error| match error {
            pg::Error::BadUrl { .. } => usage(format!(
                "environment variable SNOWPACK_DATABASE_URL: {error}"
            )),
            error => error.into(),
        })
}

/// The same pool, listening as the settings say.
pub fn listening(pool: Pool, args: &pg::ListenArgs, program: &str) -> Result<Pool> {
    pool.listening(args, program)
        .map_err(|error| usage(format!("environment variable SNOWPACK_LISTEN_URL: {error}")))
}

/// What storage settings ask for.
pub fn storage(args: &storage::Args) -> Result<Storage> {
    Storage::new(args).map_err(usage)
}

/// Opens the catalog, to read metadata documents in `memory_bytes`. What its settings ask for and
/// this version does not do is bad usage.
pub async fn catalog(
    args: &catalog::Args,
    pool: &Pool,
    lake: (&Storage, &storage::Args),
    memory_bytes: u64,
) -> Result<Arc<dyn Catalog>> {
    catalog::open(args, Some(pool), lake, memory_bytes)
        .await
        .map_err(|error| match error {
            catalog::Error::Unsupported(_) => usage(error),
            error => anyhow::Error::from(error).context("open the catalog"),
        })
}

/// A schema newer than this program is fine until it says that it is too new for it.
async fn check_schema(pool: &Pool) -> Result<()> {
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
        let queue = cause.downcast_ref().map(queue::Error::advice);
        pg.or(catalog).or(queue) == Some(Advice::RetryLater) || cause.is::<NotMigrated>()
    })
}
