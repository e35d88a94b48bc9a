//! `snowpack plan`: what an action would do to a table, and why it leaves the rest alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use catalog::Catalog;
use jiff::Timestamp;
use lake::Preview;
use model::{Action, TableName};
use planner::{
    Plan, Task, Unwatched, dangling, expire, manifests, orphans, position_deletes, purge, rewrite,
};
use serde_json::{Value, json};

use crate::args::{Lakehouse, MaybeDatabase};
use crate::option::{ActionOption, by_action};
use crate::out::Out;
use crate::print::{self, Grid};
use crate::{records, session};

/// Snapshot ids named in a plan's text.
const IDS_SHOWN_MAX: usize = 5;
/// Orphan files named in a plan's text.
const FILES_SHOWN_MAX: usize = 20;

/// Groups whose columns are looked at.
const PREVIEWS_MAX: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The table, as namespace.table
    #[arg(value_name = "TABLE")]
    table: TableName,
    /// The action to plan
    #[arg(value_name = "ACTION")]
    action: Action,
    /// An option of the action, as [ACTION.]key=value; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE")]
    options: Vec<ActionOption>,
    /// Read the first row group of each of the first three groups, too, and show how its columns
    /// would be made (only `rewrite_data_files`)
    #[arg(long)]
    columns: bool,
    #[command(flatten)]
    database: MaybeDatabase,
    #[command(flatten)]
    lakehouse: Lakehouse,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let task = tasks(&[args.action], &args.options)?.remove(0);
    if args.columns && args.action != Action::RewriteDataFiles {
        let action = args.action;
        let why = format!("--columns: {action} makes no columns; allowed: rewrite_data_files");
        return Err(runtime::Error::Usage(why).into());
    }
    let pool = session::maybe_database(&args.database).await?;
    let catalog = session::catalog(&args.lakehouse, pool.as_ref()).await?;
    if pool.is_none() {
        let table = catalog.load(&args.table).await?;
        records::check_clock(&*catalog, &table, &[args.action]).await?;
    }
    let records = session::records(pool.as_ref(), catalog.name());
    let engine = session::engine(catalog.clone());
    let plan = engine
        .plan(&args.table, &task, &*records, &Unwatched)
        .await?;
    let mut document = json!(plan);
    let mut shown = text(&plan);
    if let (Plan::RewriteDataFiles(plan), true) = (&plan, args.columns) {
        let previews = previews(&*catalog, &args.table, plan).await?;
        document["columns"] = previews
            .iter()
            .map(|preview| preview_document(preview.as_ref()))
            .collect();
        shown.push_str(&columns(plan, &previews));
    }
    out.result(&document, || shown)
}

async fn previews(
    catalog: &dyn Catalog,
    name: &TableName,
    plan: &rewrite::Plan,
) -> Result<Vec<Option<Preview>>> {
    let table = catalog.load(name).await?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let with = (cores, runner::memory_bytes());
    Ok(lake::preview(&table, plan, PREVIEWS_MAX, with).await?)
}

fn preview_document(preview: Option<&Preview>) -> Value {
    preview.map_or(Value::Null, |preview| {
        let columns = preview.columns.iter();
        let columns =
            columns.map(|of| json!({ "column": of.column, "way": of.way, "reason": of.reason }));
        json!({
            "partition_path": preview.partition_path,
            "rows": preview.rows,
            "columns": columns.collect::<Vec<Value>>(),
        })
    })
}

fn columns(plan: &rewrite::Plan, previews: &[Option<Preview>]) -> String {
    if previews.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(&["PARTITION", "COLUMN", "HOW", "~WHY"]);
    for (group, preview) in plan.groups.iter().zip(previews) {
        let path = || partition(&group.partition_path).to_owned();
        let Some(preview) = preview else {
            let why = if plan.sorting.is_some() {
                "transcoded: sorted"
            } else {
                "known when equality deletes, or the rows' partitions, were looked up"
            };
            grid.row([path(), "-".to_owned(), "-".to_owned(), why.to_owned()]);
            continue;
        };
        for of in &preview.columns {
            let why = of.reason.clone().unwrap_or_default();
            grid.row([path(), of.column.clone(), of.way.to_owned(), why]);
        }
    }
    let more = match plan.groups.len() - previews.len() {
        0 => String::new(),
        more => format!(
            "and {} not looked at\n",
            print::counted(more as u64, "more group")
        ),
    };
    format!(
        "\ncolumns, as the first row group of each group is made:\n{}{more}",
        grid.render()
    )
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
        Plan::ExpireSnapshots(plan) => expire_text(plan),
        Plan::RewriteDataFiles(plan) => rewrite_text(plan),
        Plan::RewritePositionDeleteFiles(plan) => position_deletes_text(plan),
        Plan::RemoveDanglingDeletes(plan) => dangling_text(plan),
        Plan::RewriteManifests(plan) => manifests_text(plan),
        Plan::RemoveOrphanFiles(plan) => orphans_text(plan),
        Plan::PurgePending(plan) => purge_text(plan),
    }
}

fn expire_text(plan: &expire::Plan) -> String {
    let mut text = format!("expire_snapshots of {}\n", plan.table);
    match plan.nothing() {
        Some(why) => text.extend(["nothing to do: ", why, "\n"]),
        None => text.push_str(&leaving(plan)),
    }
    text.push_str(&staying(">SNAPSHOTS", &plan.kept));
    text
}

/// What goes, and what becomes of its files.
fn leaving(plan: &expire::Plan) -> String {
    let mut lines = Vec::new();
    if !plan.expire.is_empty() {
        let shown = plan.expire.iter().take(IDS_SHOWN_MAX);
        let ids: Vec<String> = shown.map(|gone| gone.snapshot_id.to_string()).collect();
        let more = plan.expire.len() - ids.len();
        let more = if more == 0 {
            String::new()
        } else {
            format!(
                " and {} more (--output json names all)",
                print::count(more as u64)
            )
        };
        lines.push(format!(
            "{} expired, oldest first: {}{more}",
            print::counted(plan.expire.len() as u64, "snapshot"),
            ids.join(", "),
        ));
        lines.push(format!(
            "files only they refer to wait {} before they may be deleted",
            print::seconds(Duration::from_millis(plan.grace_ms.unsigned_abs()))
        ));
    }
    if !plan.remove_refs.is_empty() {
        lines.push(format!(
            "branches and tags removed, being older than they may be: {}",
            plan.remove_refs.join(", ")
        ));
    }
    let ids = |ids: &[i32]| {
        ids.iter()
            .map(i32::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !plan.remove_specs.is_empty() {
        lines.push(format!(
            "partition specs removed: {}",
            ids(&plan.remove_specs)
        ));
    }
    if !plan.remove_schemas.is_empty() {
        lines.push(format!("schemas removed: {}", ids(&plan.remove_schemas)));
    }
    lines.extend(settled_first(plan.open_intents));
    lines.join("\n") + "\n"
}

fn purge_text(plan: &purge::Plan) -> String {
    let mut lines = vec![format!("purge_pending of {}", plan.table)];
    if let Some(why) = plan.nothing() {
        lines.push(format!("nothing to do: {why}"));
    }
    lines.extend(settled_first(plan.open_intents));
    if plan.files > 0 {
        lines.push(format!(
            "{} ({}) due; each is deleted if nothing refers to it by then, else kept with the reason",
            print::counted(plan.files, "file"),
            print::bytes(plan.bytes)
        ));
    }
    lines.join("\n") + "\n"
}

fn position_deletes_text(plan: &position_deletes::Plan) -> String {
    let mut text = format!("rewrite_position_delete_files of {}\n", plan.table);
    if let Some(why) = plan.nothing() {
        text.extend(["nothing to do: ", why, "\n"]);
    } else {
        let mut grid = Grid::new(&["PARTITION", ">FILES", ">DELETES", ">BYTES"]);
        for group in &plan.groups {
            grid.row([
                partition(&group.partition_path).to_owned(),
                print::count(group.inputs.len() as u64),
                print::count(group.records()),
                print::bytes(group.bytes()),
            ]);
        }
        let _ = write!(
            text,
            "{} are rewritten, target {}; needs about {} of memory\n\n{}",
            print::counted(plan.inputs(), "delete file"),
            print::bytes(plan.target_size_bytes),
            print::bytes(plan.memory_bytes),
            grid.render()
        );
    }
    text.push_str(&staying(">FILES", &plan.kept));
    text
}

/// What stays, counted by reason.
fn staying(what: &'static str, kept: &BTreeMap<String, u64>) -> String {
    if kept.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(&[what, "STAY BECAUSE"]);
    for (why, count) in kept {
        grid.row([print::count(*count), why.clone()]);
    }
    format!("\n{}", grid.render())
}

fn orphans_text(plan: &orphans::Plan) -> String {
    let mut text = format!(
        "remove_orphan_files of {}: files in {} written before {}\n",
        plan.table,
        plan.location,
        Timestamp::from_millisecond(plan.older_than_ms).unwrap_or_default()
    );
    if let Some(why) = plan.nothing() {
        text.extend(["nothing to do: ", why, "\n"]);
    } else {
        let mut grid = Grid::new(&["WRITTEN", ">BYTES", "ORPHAN FILE"]);
        for file in plan.files.iter().take(FILES_SHOWN_MAX) {
            let written = Timestamp::from_millisecond(file.modified_ms).unwrap_or_default();
            let bytes = print::bytes(file.size_bytes);
            grid.row([written.to_string(), bytes, file.path.clone()]);
        }
        let more = match plan.orphans.saturating_sub(FILES_SHOWN_MAX as u64) {
            0 => String::new(),
            more => format!(
                "and {} more (--output json names those planned)\n",
                print::count(more)
            ),
        };
        text = format!(
            "{text}{} ({}) wait a day before they are deleted, if nothing refers to them by then\n\n{}{more}",
            print::counted(plan.orphans, "file"),
            print::bytes(plan.bytes),
            grid.render()
        );
    }
    text.push_str(&staying(">FILES", &plan.kept));
    text
}

fn dangling_text(plan: &dangling::Plan) -> String {
    let mut text = format!("remove_dangling_deletes of {}\n", plan.table);
    if let Some(why) = plan.nothing() {
        text.extend(["nothing to do: ", why, "\n"]);
        return text;
    }
    let mut sums: BTreeMap<dangling::Why, [u64; 3]> = BTreeMap::new();
    for file in &plan.files {
        let sum = sums.entry(file.why).or_default();
        for (sum, more) in sum.iter_mut().zip([1, file.records, file.bytes]) {
            *sum = sum.saturating_add(more);
        }
    }
    let mut grid = Grid::new(&[">FILES", ">DELETES", ">BYTES", "GO BECAUSE"]);
    for (why, [files, records, bytes]) in sums {
        let why = why.as_str().to_owned();
        let [files, records] = [files, records].map(print::count);
        grid.row([files, records, print::bytes(bytes), why]);
    }
    format!(
        "{text}{} removed, {} may still apply and stay\n\n{}",
        print::counted(plan.files.len() as u64, "delete file"),
        print::count(plan.kept),
        grid.render()
    )
}

fn manifests_text(plan: &manifests::Plan) -> String {
    let mut text = format!("rewrite_manifests of {}\n", plan.table);
    match plan.nothing() {
        Some(why) => text.extend(["nothing to do: ", why, "\n"]),
        None => text.push_str(&merging(plan)),
    }
    text.push_str(&staying(">MANIFESTS", &plan.kept));
    text
}

fn merging(plan: &manifests::Plan) -> String {
    let mut grid = Grid::new(&["CONTENT", ">SPEC", ">MANIFESTS", ">BYTES", ">BECOME"]);
    for group in &plan.groups {
        grid.row([
            group.content.clone(),
            group.spec_id.to_string(),
            print::count(group.inputs.len() as u64),
            print::bytes(group.bytes()),
            format!("about {}", print::count(group.expected)),
        ]);
    }
    format!(
        "{} are merged, target {}; needs about {} of memory\n\n{}",
        print::counted(plan.inputs(), "manifest"),
        print::bytes(plan.target_size_bytes),
        print::bytes(plan.memory_bytes),
        grid.render()
    )
}

fn settled_first(open_intents: u64) -> Option<String> {
    (open_intents > 0).then(|| {
        format!(
            "{} settled first: its files are looked for and listed",
            print::counted(open_intents, "earlier expiry")
        )
    })
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
        if let Some(sorting) = &plan.sorting {
            let _ = writeln!(text, "the rows of each group are ordered by {sorting}");
        }
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
        "~WHY",
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
    let mut grid = Grid::new(&["PARTITION", ">FILES", ">BYTES", "~WHY"]);
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
