//! What must be there before the first answer: Postgres, and our schema in it.
//!
//! Pods start in any order, so what may still come up is waited for, within a limit; what cannot
//! heal (a wrong password, a bad setting) ends the process at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use model::Advice;
use pg::Pool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Each loop holds one connection for its turn and works with another; requests want some too.
const CONNECTIONS_MIN: usize = 6;
/// First pause between two tries; doubled each time up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The database is there, our tables are not, or are older than this program.
#[derive(Debug, thiserror::Error)]
#[error(
    "schema {} is {found} in the database and version {} is needed: run `snowpack-api migrate`",
    maintenance::SCHEMA,
    maintenance::SCHEMA_VERSION
)]
struct NotMigrated {
    found: String,
}

/// The pool, once Postgres answers and has our schema; `None` when told to stop meanwhile.
pub(crate) async fn wait(
    args: &pg::Args,
    within: Duration,
    stop: &CancellationToken,
) -> Result<Option<Pool>> {
    let deadline = Instant::now() + within;
    let mut pause = PAUSE_MIN;
    loop {
        let tried = tokio::select! {
            tried = migrated(args) => tried,
            () = stop.cancelled() => return Ok(None),
        };
        let error = match tried {
            Ok(pool) => return Ok(Some(pool)),
            Err(error) => error,
        };
        if !passing(&error) || deadline <= Instant::now() {
            return Err(error);
        }
        if pause == PAUSE_MIN {
            let why = runtime::chain(error.as_ref());
            warn!(why, seconds_max = within.as_secs(), "waiting for Postgres");
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(pause.min(left)) => {}
            () = stop.cancelled() => return Ok(None),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The pool, whatever is in the database.
pub(crate) async fn connect(args: &pg::Args) -> Result<Pool> {
    let asked = usize::try_from(args.connections_max.get()).unwrap_or(usize::MAX);
    let connections = asked.max(CONNECTIONS_MIN);
    Pool::connect(&args.database_url, connections, crate::NAME)
        .await
        .map_err(|error| match error {
            pg::Error::BadUrl { .. } => {
                let why = format!("environment variable SNOWPACK_DATABASE_URL: {error}");
                runtime::Error::Usage(why).into()
            }
            error => error.into(),
        })
}

async fn migrated(args: &pg::Args) -> Result<Pool> {
    let pool = connect(args).await?;
    check_schema(&pool).await?;
    Ok(pool)
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

/// True when trying again may help.
fn passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let advice = cause.downcast_ref().map(pg::Error::advice);
        advice == Some(Advice::RetryLater) || cause.is::<NotMigrated>()
    })
}
