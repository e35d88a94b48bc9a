//! `snowpack explain`: why a table was, or was not, maintained.

use std::fmt::Write as _;

use anyhow::Result;
use jiff::Timestamp;
use maintenance::runs::Choice;
use model::TableName;
use policy::{Effective, Enrolment, Sourced};
use serde_json::json;
use steward::explain::{Explanation, Health, Now};

use crate::jobs::moment;
use crate::out::Out;
use crate::print::{self, Grid};
use crate::runs::job;
use crate::session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack explain db.events
  snowpack explain db.events --output json

It shows all that a run looks at: the allowlist's rule, enrolment and every other value of the policy
with where it comes from, health and where its points went, past jobs, what would be decided now and
why, and what runs decided before. Give it the settings the orchestrator runs with: they are the
defaults of the policy. The catalog is not asked. Times are UTC.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The table, as namespace.table
    #[arg(value_name = "TABLE")]
    table: TableName,
    #[command(flatten)]
    database: pg::Args,
    #[command(flatten)]
    policy: steward::PolicyArgs,
    #[command(flatten)]
    cache_age: steward::CacheAgeArgs,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let (defaults, age_max) = (args.policy.defaults(), args.cache_age.max());
    let told = steward::explain::explain(&pool, &defaults, age_max, &args.table).await?;
    out.result(&json!(told), || text(&told))
}

fn text(told: &Explanation) -> String {
    let mut parts = vec![headline(told), facts(told)];
    if let Some(health) = &told.health {
        parts.push(points(health));
    }
    if let Some(policy) = &told.policy {
        parts.push(values(policy));
        parts.push(complaints(policy));
    }
    parts.push(decisions(told));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What would be decided now, and why.
fn headline(told: &Explanation) -> String {
    let Now {
        decision,
        reason,
        why,
        actions,
        ..
    } = &told.decision;
    if *decision == Choice::Skip {
        return format!("{} is left alone: {reason}\n  {why}\n", told.table);
    }
    let mut text = format!("{} is due now\n", told.table);
    for one in actions {
        for reason in &one.reasons {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}: {reason}", one.action);
        }
    }
    text
}

fn facts(told: &Explanation) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let ago = |ms: i64| format!("{} ({} ago)", at(ms), since(told.now_ms, ms));
    match &told.inventory {
        None => lines.push(("cache", "not in it".to_owned())),
        Some(inventory) => {
            if let Some(rule) = inventory.rule.as_ref().filter(|rule| !rule.is_empty()) {
                lines.push(("let in by", rule.clone()));
            }
            lines.push(("last seen", ago(inventory.synced_at_ms)));
            lines.extend(
                inventory
                    .metadata_location
                    .clone()
                    .map(|at| ("metadata", at)),
            );
            lines.extend(inventory.error.clone().map(|error| ("not read", error)));
        }
    }
    lines.extend(
        told.policy
            .as_ref()
            .map(|policy| ("enrolled", enrolled(policy))),
    );
    lines.push(match &told.health {
        None => ("health", "never measured".to_owned()),
        Some(health) => {
            let measured = health
                .assessed_at_ms
                .map_or_else(String::new, |ms| format!(", measured {}", ago(ms)));
            (
                "health",
                format!("{:.0} of 100{measured}", health.assessment.score),
            )
        }
    });
    lines.extend(
        told.health_error
            .clone()
            .map(|error| ("last look", format!("failed: {error}"))),
    );
    lines.extend(past(told));
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    }
    text
}

/// What happened to it before.
fn past(told: &Explanation) -> Vec<(&'static str, String)> {
    let ago = |ms: i64| format!("{} ({} ago)", at(ms), since(told.now_ms, ms));
    let history = &told.history;
    let mut lines = Vec::new();
    if let Some(holder) = &history.locked_by {
        lines.push(("locked by", format!("job {holder}")));
    }
    lines.push((
        "last job",
        history.last_ended_ms.map_or_else(|| "none".to_owned(), ago),
    ));
    if history.last_completed_ms != history.last_ended_ms {
        let completed = history
            .last_completed_ms
            .map_or_else(|| "never".to_owned(), ago);
        lines.push(("completed", completed));
    }
    if 0 < history.failures_in_a_row {
        let last = history
            .last_failure_ms
            .map_or_else(String::new, |ms| format!(", the last {}", ago(ms)));
        lines.push((
            "failures",
            format!("{} in a row{last}", history.failures_in_a_row),
        ));
    }
    if 0 < history.due_deletion_count {
        let files = print::counted(history.due_deletion_count, "file");
        lines.push(("deletions", format!("{files} due")));
    }
    lines.extend(
        history
            .put_off_since_ms
            .map(|ms| ("put off", format!("since {}", ago(ms)))),
    );
    lines.extend(
        told.decision
            .cost_gb_hours
            .map(|cost| ("predicted", format!("{cost:.4} GB-hours"))),
    );
    lines
}

fn enrolled(policy: &Effective) -> String {
    let flag = &policy.compaction_skip;
    if flag.value {
        return format!("no: compaction_skip=true ({})", flag.source.as_str());
    }
    let said = &policy.maintenance_enabled;
    match (said.value, policy.enrolment) {
        (Some(enabled), _) => format!(
            "{}: maintenance_enabled={enabled} ({})",
            if enabled { "yes" } else { "no" },
            said.source.as_str()
        ),
        (None, Enrolment::OptIn) => "no: enrolment is opt-in and nobody opted in".to_owned(),
        (None, Enrolment::OptOut) => "yes: enrolment is opt-out and nobody opted out".to_owned(),
    }
}

/// Where the points of health went.
fn points(health: &Health) -> String {
    let lost = health
        .assessment
        .terms
        .iter()
        .filter(|term| 0.0 < term.lost);
    let mut grid = Grid::new(&[">POINTS LOST", ">OF", "FOR", "MENDED BY", "~BECAUSE"]);
    let mut any = false;
    for term in lost {
        any = true;
        grid.row([
            format!("{:.1}", term.lost),
            format!("{:.0}", term.at_most),
            term.name.clone(),
            term.action.to_string(),
            term.why.clone(),
        ]);
    }
    if any { grid.render() } else { String::new() }
}

/// Every value of the policy with its source.
fn values(policy: &Effective) -> String {
    let mut grid = Grid::new(&["PROPERTY", "VALUE", "FROM"]);
    for row in switches(policy).into_iter().chain(numbers(policy)) {
        grid.row(row);
    }
    grid.render()
}

fn row<T>(name: &str, value: &Sourced<T>, text: impl Fn(&T) -> String) -> [String; 3] {
    let source = value.source.as_str().to_owned();
    [name.to_owned(), text(&value.value), source]
}

fn or_unset<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "unset".to_owned(), ToString::to_string)
}

fn switches(policy: &Effective) -> Vec<[String; 3]> {
    let window = |window: &Option<policy::Window>| {
        let written = window.as_ref().map(ToString::to_string);
        written.unwrap_or_else(|| "always".to_owned())
    };
    vec![
        row(
            "snowpack.maintenance_enabled",
            &policy.maintenance_enabled,
            |on| or_unset(on.as_ref()),
        ),
        row("compaction_skip", &policy.compaction_skip, bool::to_string),
        row("snowpack.window", &policy.window, window),
        row("snowpack.priority", &policy.priority, i16::to_string),
        row(
            "snowpack.rewrite_data_rewrite_all",
            &policy.rewrite_data_rewrite_all,
            bool::to_string,
        ),
    ]
}

fn numbers(policy: &Effective) -> Vec<[String; 3]> {
    let size = |bytes: &u64| format!("{bytes} ({})", print::bytes(*bytes));
    let counts = [
        ("min_input_files", &policy.min_input_files),
        (
            "rewrite_data_delete_file_threshold",
            &policy.rewrite_data_delete_file_threshold,
        ),
        (
            "partial_progress_max_commits",
            &policy.partial_progress_max_commits,
        ),
    ];
    let measures = [
        (
            "maintenance_cadence_hours",
            &policy.maintenance_cadence_hours,
        ),
        ("max_snapshot_age_days", &policy.max_snapshot_age_days),
        (
            "rewrite_data_delete_ratio_threshold",
            &policy.rewrite_data_delete_ratio_threshold,
        ),
    ];
    let name = |name: &str| format!("snowpack.{name}");
    let mut rows = vec![row(
        &name("target_file_size_bytes"),
        &policy.target_file_size_bytes,
        size,
    )];
    rows.extend(measures.map(|(of, value)| row(&name(of), value, f64::to_string)));
    rows.extend(counts.map(|(of, value)| row(&name(of), value, u32::to_string)));
    rows.push(row(
        &name("delete_file_threshold"),
        &policy.delete_file_threshold,
        |count| or_unset(count.as_ref()),
    ));
    rows
}

/// What an owner wrote and nobody reads as meant.
fn complaints(policy: &Effective) -> String {
    let mut text = String::new();
    for one in &policy.unreadable {
        let (property, value, source) = (&one.property, &one.value, one.source.as_str());
        let _ = writeln!(
            text,
            "! {property} = `{value}` ({source}) cannot be read; allowed: {}",
            one.allowed
        );
    }
    for one in &policy.unknown {
        let (property, source) = (&one.property, one.source.as_str());
        let _ = writeln!(
            text,
            "! {property} ({source}) is no property of Snowpack's; did you mean {}?",
            one.nearest
        );
    }
    text
}

/// What runs decided, newest first.
fn decisions(told: &Explanation) -> String {
    if told.decisions.is_empty() {
        return "no run has decided about it\n".to_owned();
    }
    let mut grid = Grid::new(&[">RUN", "DECIDED", "DECISION", "ACTIONS", "JOB", "~WHY"]);
    for one in &told.decisions {
        let word = match one.choice {
            Choice::Submit if one.job.is_some() => "submitted",
            Choice::Submit => "would submit",
            Choice::Skip => one.reason.as_str(),
        };
        let error = one
            .job_error
            .as_ref()
            .map(|error| format!("failed: {error}"));
        grid.row([
            one.run.to_string(),
            moment(one.decided_at),
            word.to_owned(),
            if one.actions.is_empty() {
                "-".to_owned()
            } else {
                one.actions.join(", ")
            },
            job(one),
            error.unwrap_or_else(|| one.why.clone()),
        ]);
    }
    grid.render()
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), moment)
}

fn since(now_ms: i64, then_ms: i64) -> String {
    let ms = now_ms.saturating_sub(then_ms).max(0).unsigned_abs();
    print::seconds(std::time::Duration::from_millis(ms))
}
