//! `--dry-run`: with a database a job that only plans, done by the time the command ends; without,
//! plans and nothing else.

use anyhow::{Result, anyhow};
use catalog::Catalog;
use maintenance::{Job, Submission};
use model::{Action, JobStatus};
use pg::Pool;
use planner::{Plan, Task, Unwatched};
use serde_json::{Value, json};

use crate::args::Maintain;
use crate::out::Out;
use crate::records::Local;
use crate::{jobs, plan};

pub(crate) async fn run(
    pool: &Pool,
    catalog: &dyn Catalog,
    submission: &Submission,
    out: &Out,
) -> Result<()> {
    let job = steward::dry_run::run(pool, catalog, submission).await?;
    let rows = maintenance::actions::list(&**pool.get().await?, &job.id).await?;
    let plans = plans(&job);
    let failed = job
        .error
        .clone()
        .filter(|_| job.status != JobStatus::Completed);
    let actions: Vec<_> = rows
        .iter()
        .map(|row| {
            let result = &row.result;
            let plan = plans.iter().find(|plan| plan.action() == result.action);
            let said = result.error.as_ref().or(result.message.as_ref());
            action(result.action, said.map(String::as_str), plan)
        })
        .collect();
    let document = json!({
        "job_id": job.id,
        "table": job.table.key(),
        "dry_run": true,
        "success": failed.is_none(),
        "message": failed,
        "actions": actions,
    });
    out.result(&document, || {
        let plans: Vec<String> = plans.iter().map(plan::text).collect();
        format!(
            "{}\njob {} is {}\n",
            plans.join("\n"),
            job.id,
            jobs::status(&job)
        )
    })?;
    failed.map_or(Ok(()), |why| Err(anyhow!("job {}: {why}", job.id)))
}

/// Shows the plans.
pub(crate) async fn alone(
    args: &Maintain,
    tasks: &[Task],
    catalog: &dyn Catalog,
    out: &Out,
) -> Result<()> {
    let mut plans: Vec<Plan> = Vec::new();
    for task in tasks {
        plans.push(survey::plan(catalog, &args.table, task, (&Local, &Unwatched)).await?);
    }
    let planned = |plan: &Plan| action(plan.action(), Some(&plan.message()), Some(plan));
    let document = json!({
        "table": args.table.key(),
        "dry_run": true,
        "success": true,
        "actions": plans.iter().map(planned).collect::<Vec<Value>>(),
    });
    out.result(&document, || {
        plans
            .iter()
            .map(plan::text)
            .collect::<Vec<String>>()
            .join("\n")
    })
}

/// One action as programs read it: planned, or why not.
fn action(action: Action, message: Option<&str>, plan: Option<&Plan>) -> Value {
    let mut document = json!({
        "action": action,
        "success": plan.is_some(),
        "message": message,
        "plan": plan,
    });
    if let Some(why) = plan.and_then(Plan::nothing) {
        document["skipped"] = json!(why);
    }
    document
}

/// The plans, in the order of their actions. One of a newer version is left out.
fn plans(job: &Job) -> Vec<Plan> {
    let plan = |action: &model::Action| {
        let document = job.plan.as_ref()?.get(action.as_str())?;
        serde_json::from_value(document.clone()).ok()
    };
    job.actions.iter().filter_map(plan).collect()
}
