//! `snowpack plan`: what an action would do to a table, and why it leaves the rest alone.

use anyhow::Result;
use planner::{Plan, Task, rewrite};
use serde_json::json;

use crate::args;
use crate::option::{ActionOption, by_action};
use crate::out::Out;
use crate::print::{self, Grid};
use crate::session;

pub(crate) async fn run(args: args::Plan, out: &Out) -> Result<()> {
    let task = tasks(&[args.action], &args.options)?.remove(0);
    let pool = session::maybe_database(&args.database).await?;
    let catalog = session::catalog(&args.lakehouse, pool.as_ref()).await?;
    let records = session::records(pool.as_ref(), catalog.name());
    let plan = session::engine(catalog)
        .plan(&args.table, &task, &*records)
        .await?;
    out.result(&json!(plan), || text(&plan))
}

/// The actions asked with their options checked, in canonical order; bad ones are bad usage.
pub(crate) fn tasks(actions: &[model::Action], options: &[ActionOption]) -> Result<Vec<Task>> {
    let usage = |why: String| runtime::Error::Usage(why);
    let mut asked = actions.to_vec();
    asked.sort();
    asked.dedup();
    let options = by_action(&asked, options).map_err(usage)?;
    let none = std::collections::BTreeMap::new();
    let task = |action: &model::Action| {
        Task::parse(*action, options.get(action).unwrap_or(&none))
            .map_err(|error| usage(error.to_string()).into())
    };
    asked.iter().map(task).collect()
}

/// The plan for people.
pub(crate) fn text(plan: &Plan) -> String {
    match plan {
        Plan::ExpireSnapshots(_) | Plan::PurgePending(_) => format!("{}\n", plan.action()),
        Plan::RewriteDataFiles(plan) => rewrite_text(plan),
    }
}

fn rewrite_text(plan: &rewrite::Plan) -> String {
    let inputs = || plan.groups.iter().flat_map(|group| &group.inputs);
    let at = plan
        .snapshot_id
        .map(|id| format!(" at snapshot {id}"))
        .unwrap_or_default();
    let outcome = match plan.nothing() {
        Some(reason) => format!("nothing to do: {reason}"),
        None => format!(
            "{} files ({}) become {} of about {} each, in {} groups; needs about {} of memory",
            print::count(inputs().count() as u64),
            print::bytes(inputs().map(|input| input.bytes).sum()),
            print::count(
                plan.groups
                    .iter()
                    .map(|group| group.output_files as u64)
                    .sum()
            ),
            print::bytes(plan.target_file_size_bytes),
            print::count(plan.groups.len() as u64),
            print::bytes(plan.memory_bytes),
        ),
    };
    let mut text = format!("rewrite_data_files of {}{at}\n{outcome}\n", plan.table);
    if !plan.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(plan).render());
    }
    if !plan.skipped.is_empty() {
        text.push_str("\nleft alone:\n");
        text.push_str(&skipped(plan).render());
    }
    text
}

fn groups(plan: &rewrite::Plan) -> Grid {
    let mut grid = Grid::new(&[
        "PARTITION",
        ">FILES",
        ">BYTES",
        ">DELETE FILES",
        ">BECOME",
        "WHY",
    ]);
    for group in &plan.groups {
        let deletes: std::collections::BTreeSet<&String> = group
            .inputs
            .iter()
            .flat_map(|input| &input.deletes)
            .collect();
        grid.row([
            partition(&group.partition_path).to_owned(),
            print::count(group.inputs.len() as u64),
            print::bytes(group.inputs.iter().map(|input| input.bytes).sum()),
            print::count(deletes.len() as u64),
            print::count(group.output_files as u64),
            group.reason.clone(),
        ]);
    }
    grid
}

fn skipped(plan: &rewrite::Plan) -> Grid {
    let mut grid = Grid::new(&["PARTITION", ">FILES", ">BYTES", "WHY"]);
    for skipped in &plan.skipped {
        grid.row([
            partition(&skipped.partition_path).to_owned(),
            print::count(skipped.files as u64),
            print::bytes(skipped.bytes),
            skipped.reason.clone(),
        ]);
    }
    grid
}

fn partition(path: &str) -> &str {
    if path.is_empty() { "-" } else { path }
}
