//! Moves old jobs to the history and deletes what nobody asks for any more.

use maintenance::retention::{Old, batch};

use crate::Error;

/// Rows one statement handles. A run goes with its decisions, one for each table.
const BATCH: u32 = 500;
const BATCH_RUNS: u32 = 10;
/// Statements of one kind in one pass; what is left is for the next pass.
const BATCHES_MAX: u32 = 2_000;

/// How long what ended is kept
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Retention")]
pub struct RetentionArgs {
    /// Days after its end a job moves to the history, and what became of a listed file is forgotten
    #[arg(
        long,
        env = "SNOWPACK_RETENTION_DAYS",
        default_value = "30",
        value_name = "DAYS",
        value_parser = days()
    )]
    pub retention_days: u32,
    /// Days after its end a job leaves the history
    #[arg(
        long,
        env = "SNOWPACK_HISTORY_RETENTION_DAYS",
        default_value = "730",
        value_name = "DAYS",
        value_parser = days()
    )]
    pub history_retention_days: u32,
    /// Days a table's health is kept; its newest stays
    #[arg(
        long,
        env = "SNOWPACK_HEALTH_RETENTION_DAYS",
        default_value = "90",
        value_name = "DAYS",
        value_parser = days()
    )]
    pub health_retention_days: u32,
    /// Days an orchestrator run is kept with its decisions
    #[arg(
        long,
        env = "SNOWPACK_RUNS_RETENTION_DAYS",
        default_value = "30",
        value_name = "DAYS",
        value_parser = days()
    )]
    pub runs_retention_days: u32,
}

/// For `value_parser`: days, up to a century.
fn days() -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    let number = runtime::number(1..=36_500);
    move |text| Ok(u32::try_from(number(text)?).unwrap_or(u32::MAX))
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    pub jobs_archived: u64,
    pub jobs_deleted: u64,
    pub deletions_forgotten: u64,
    pub intents_forgotten: u64,
    pub health_deleted: u64,
    pub runs_deleted: u64,
}

/// One pass. Each batch is one statement: it may be killed between any two and run twice at once.
pub async fn once(pool: &pg::Pool, args: &RetentionArgs) -> Result<Retained, Error> {
    let retained = Retained {
        jobs_archived: all(pool, Old::Jobs, args.retention_days, BATCH).await?,
        jobs_deleted: all(pool, Old::History, args.history_retention_days, BATCH).await?,
        deletions_forgotten: all(pool, Old::Deletions, args.retention_days, BATCH).await?,
        intents_forgotten: all(pool, Old::Intents, args.retention_days, BATCH).await?,
        health_deleted: all(pool, Old::Health, args.health_retention_days, BATCH).await?,
        runs_deleted: all(pool, Old::Runs, args.runs_retention_days, BATCH_RUNS).await?,
    };
    if retained != Retained::default() {
        tracing::info!(
            jobs_archived = retained.jobs_archived,
            jobs_deleted = retained.jobs_deleted,
            deletions_forgotten = retained.deletions_forgotten,
            intents_forgotten = retained.intents_forgotten,
            health_deleted = retained.health_deleted,
            runs_deleted = retained.runs_deleted,
            "old records put away"
        );
    }
    Ok(retained)
}

async fn all(pool: &pg::Pool, old: Old, days: u32, limit: u32) -> Result<u64, Error> {
    let mut count = 0;
    for _ in 0..BATCHES_MAX {
        let handled = batch(&**pool.get().await?, old, days, limit).await?;
        count += handled;
        if handled < u64::from(limit) {
            break;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        retention: RetentionArgs,
    }

    #[test]
    fn m30_days_are_checked_and_have_defaults() {
        let parse = |words: &[&str]| Program::try_parse_from([&["program"], words].concat());
        let args = parse(&[]).unwrap().retention;
        assert_eq!((args.retention_days, args.health_retention_days), (30, 90));
        for word in ["--retention-days=0", "--runs-retention-days=many"] {
            let error = parse(&[word]).unwrap_err().to_string();
            assert!(error.contains("from 1 to 36500"), "{word}: {error}");
        }
        for argument in Program::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
