//! Dry runs: planned for real with `survey`, recorded as an ended job. Changes no table, takes no
//! lock, needs no worker (M06).

use std::time::{Duration, Instant};

use catalog::Catalog;
use maintenance::{ActionResult, Job, Submission, dry_run};
use model::{Action, ActionOutcome, Advice};
use pg::Pool;
use planner::{BadOption, Plan, Records, Task, Unwatched};
use runner::PoolRecords;
use serde_json::{Map, Value};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    BadOption(#[from] BadOption),
    /// Refused, or not written; nothing was planned or nothing of it recorded.
    #[error(transparent)]
    Maintenance(#[from] maintenance::Error),
    /// The table could not be looked at just now, or is not there.
    #[error("plan {action}")]
    Planning {
        action: Action,
        #[source]
        source: survey::Error,
    },
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::BadOption(_) => Advice::GiveUp,
            Self::Maintenance(source) => source.advice(),
            Self::Planning { source, .. } => source.advice(),
        }
    }
}

/// Plans every action on the table as it is now and records that as a job: completed, or failed
/// when a plan is refused, which leaves out the actions after it, as the real job would. The same
/// key gives the same job, without planning again. Fails with nothing recorded when the table is
/// not there, or cannot be read for a reason that may pass.
pub async fn run(
    pool: &Pool,
    catalog: &dyn Catalog,
    submission: &Submission,
) -> Result<Job, Error> {
    let mut asked = Submission {
        dry_run: true,
        ..submission.clone()
    };
    let tasks = tasks(&asked)?;
    if let Some(job) = known(pool, &asked).await? {
        return Ok(job);
    }
    let records = PoolRecords::new(pool.clone(), catalog.name().to_owned());
    let (results, plans) = plan(catalog, &records, &asked, &tasks).await?;
    asked.plan = Some(Value::Object(plans));
    Ok(record(pool, &asked, &results).await?)
}

fn tasks(asked: &Submission) -> Result<Vec<Task>, BadOption> {
    let mut actions = asked.actions.clone();
    actions.sort_unstable();
    actions.dedup();
    let none = std::collections::BTreeMap::new();
    let options = |action| asked.options.get(action).unwrap_or(&none);
    actions
        .iter()
        .map(|action| Task::parse(*action, options(action)))
        .collect()
}

async fn plan(
    catalog: &dyn Catalog,
    records: &dyn Records,
    asked: &Submission,
    tasks: &[Task],
) -> Result<(Vec<ActionResult>, Map<String, Value>), Error> {
    let (mut results, mut plans) = (Vec::new(), Map::new());
    let mut refused = false;
    for task in tasks {
        let action = task.action();
        if refused {
            results.push(skipped(action));
            continue;
        }
        let started = Instant::now();
        let planned = survey::plan(catalog, &asked.table, task, (records, &Unwatched)).await;
        let elapsed = started.elapsed();
        match planned {
            Ok(plan) => {
                results.push(planned_as(&plan, elapsed));
                // A plan is numbers and texts: it always has a JSON form.
                let document = serde_json::to_value(&plan).unwrap_or_default();
                plans.insert(action.to_string(), document);
            }
            Err(source) if is_judgement(&source) => {
                refused = true;
                results.push(failed(action, &source, elapsed));
            }
            Err(source) => return Err(Error::Planning { action, source }),
        }
    }
    Ok((results, plans))
}

/// About the table as it is, and not about reaching it.
fn is_judgement(error: &survey::Error) -> bool {
    let absent = matches!(
        error,
        survey::Error::Catalog {
            source: catalog::Error::NoSuchTable(_),
            ..
        }
    );
    error.advice() == Advice::GiveUp && !absent
}

fn planned_as(plan: &Plan, elapsed: Duration) -> ActionResult {
    ActionResult {
        action: plan.action(),
        outcome: match plan.nothing() {
            Some(_) => ActionOutcome::NothingToDo,
            None => ActionOutcome::Done,
        },
        error: None,
        message: Some(plan.message()),
        elapsed,
        result: None,
    }
}

fn failed(action: Action, error: &survey::Error, elapsed: Duration) -> ActionResult {
    ActionResult {
        action,
        outcome: ActionOutcome::Failed,
        error: Some(runtime::chain(error)),
        message: None,
        elapsed,
        result: None,
    }
}

fn skipped(action: Action) -> ActionResult {
    ActionResult {
        action,
        outcome: ActionOutcome::Skipped,
        error: None,
        message: Some("not planned: an action before it was refused".to_owned()),
        elapsed: Duration::ZERO,
        result: None,
    }
}

async fn known(pool: &Pool, asked: &Submission) -> Result<Option<Job>, maintenance::Error> {
    let doing = "begin a dry run";
    let database = |source| maintenance::Error::Database { doing, source };
    let mut client = client(pool, doing).await?;
    let tx = (**client).transaction().await.map_err(database)?;
    match dry_run::known(&tx, asked).await? {
        Some(job) => maintenance::get(&tx, &job).await,
        None => Ok(None),
    }
}

async fn record(
    pool: &Pool,
    asked: &Submission,
    results: &[ActionResult],
) -> Result<Job, maintenance::Error> {
    let doing = "record a dry run";
    let database = |source| maintenance::Error::Database { doing, source };
    let mut client = client(pool, doing).await?;
    let tx = (**client).transaction().await.map_err(database)?;
    let submitted = dry_run::record(&tx, asked, results).await?;
    let job = maintenance::get(&tx, submitted.job()).await?;
    tx.commit().await.map_err(database)?;
    job.ok_or_else(|| maintenance::Error::NoSuchJob(submitted.job().clone()))
}

async fn client(pool: &Pool, doing: &'static str) -> Result<pg::Client, maintenance::Error> {
    let client = pool.get().await;
    client.map_err(|source| maintenance::Error::Pool { doing, source })
}
