//! `snowpack health`: one table looked at now, or what is stored of all of them.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use maintenance::health::{Latest, Stored};
use model::TableName;
use model::health::Facts;
use pg::Pool;
use policy::Effective;
use serde_json::{Value, json};
use steward::health::{Assessed, Assessor, Keep, Payload};

use crate::args::Health;
use crate::jobs::moment;
use crate::out::Out;
use crate::print::{self, Grid};
use crate::session;

pub(crate) async fn run(args: Health, out: &Out) -> Result<()> {
    let pool = session::maybe_database(&args.database).await?;
    match &args.table {
        Some(table) => one(&args, table, pool, out).await,
        None => all(&args, pool.as_ref(), out).await,
    }
}

/// Looks at one table; stores what it found where there is a place for it.
async fn one(args: &Health, table: &TableName, pool: Option<Pool>, out: &Out) -> Result<()> {
    let catalog = session::catalog(&args.lakehouse, pool.as_ref()).await?;
    let (store, note) = match pool {
        None => (None, "not stored: no database was given".to_owned()),
        Some(pool) => match unmigrated(&pool).await? {
            Some(why) => (None, format!("not stored: {why}")),
            None => (Some(pool), String::new()),
        },
    };
    let assessor = Assessor::new(catalog, store, args.policy.defaults());
    let assessed = assessor
        .assess(table, Keep::IfNew)
        .await
        .with_context(|| format!("assess {table}"))?;
    let stored = match assessed.stored {
        None => note,
        Some(Stored::New(id)) => format!("stored as health snapshot {id}"),
        Some(Stored::Unchanged) => "as it was stored before".to_owned(),
    };
    let mut document = serde_json::to_value(assessed.payload())?;
    document["table"] = table.key().into();
    document["policy"] = serde_json::to_value(&assessed.effective)?;
    document["health_snapshot_id"] = match assessed.stored {
        Some(Stored::New(id)) => id.into(),
        _ => Value::Null,
    };
    out.result(&document, || shown(table, &assessed, &stored))
}

/// Why nothing can be stored, when nothing can.
async fn unmigrated(pool: &Pool) -> Result<Option<String>> {
    let found = pg::schema_state(pool, maintenance::SCHEMA).await?;
    let (schema, ours) = (maintenance::SCHEMA, maintenance::SCHEMA_VERSION);
    Ok(match found {
        None => Some(format!(
            "the database has no schema `{schema}`; `snowpack migrate` makes it"
        )),
        Some(state) if state.version < ours || ours < state.oldest_binary_schema => Some(format!(
            "the database's schema is at version {}, this program's is {ours}",
            state.version
        )),
        Some(_) => None,
    })
}

fn shown(table: &TableName, assessed: &Assessed, stored: &str) -> String {
    let assessment = &assessed.assessment;
    let verdict = if assessment.needs_maintenance {
        "needs maintenance"
    } else {
        "needs nothing"
    };
    let mut text = format!("{table}: {:.1} of 100, {verdict}\n\n", assessment.score);
    let mut terms = Grid::new(&["TERM", ">LOST", ">OF", "ACTION", "~WHY"]);
    for term in &assessment.terms {
        terms.row([
            term.name.clone(),
            format!("{:.1}", term.lost),
            format!("{:.0}", term.at_most),
            term.action.to_string(),
            term.why.clone(),
        ]);
    }
    text += &terms.render();
    text += "\n";
    if assessment.needs_maintenance {
        let mut grid = Grid::new(&["RECOMMENDED", "~BECAUSE"]);
        for recommended in &assessment.recommended {
            for (index, reason) in recommended.reasons.iter().enumerate() {
                let action = match index {
                    0 => recommended.action.to_string(),
                    _ => String::new(),
                };
                grid.row([action, reason.clone()]);
            }
        }
        text.extend([&grid.render(), "\n"]);
    }
    text += &facts(assessed);
    text += &complaints(&assessed.effective);
    text.extend(["\n", stored, "\n"]);
    if assessment.needs_maintenance {
        let actions: Vec<&str> = assessment
            .recommended
            .iter()
            .map(|recommended| recommended.action.as_str())
            .collect();
        text.extend([
            "snowpack maintain ",
            &table.key(),
            " ",
            &actions.join(" "),
            "\n",
        ]);
    }
    text
}

/// Properties that say nothing one could go by.
fn complaints(policy: &Effective) -> String {
    let unreadable = policy.unreadable.iter().map(|found| {
        let (name, value, allowed) = (&found.property, &found.value, &found.allowed);
        format!("ignored: {name} = `{value}`: {allowed}\n")
    });
    let unknown = policy.unknown.iter().map(|found| {
        let (name, nearest) = (&found.property, &found.nearest);
        format!("unknown: {name}; did you mean {nearest}?\n")
    });
    unreadable.chain(unknown).collect()
}

/// The facts in lines, each with its unit.
fn facts(assessed: &Assessed) -> String {
    let facts = &assessed.facts;
    let mut grid = Grid::new(&["FACT", "VALUE"]);
    grid.row(["data files", &data_files(facts)]);
    grid.row(["delete files", &delete_files(facts)]);
    grid.row(["rows", &print::count(facts.total_records)]);
    grid.row(["snapshots", &snapshots(facts)]);
    grid.row(["manifests", &manifests(facts)]);
    let metadata = format!(
        "format {}, {}, last changed {}",
        facts.format_version,
        print::bytes(facts.metadata_bytes),
        at(facts.last_updated_ms)
    );
    grid.row(["metadata", &metadata]);
    if let Some(rival) = &facts.rival {
        let seen = format!("{}, last rewrote files {}", rival.name, at(rival.at_ms));
        grid.row(["another maintainer", &seen]);
    }
    grid.row(["judged by", &judged_by(&assessed.effective)]);
    grid.render()
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), moment)
}

fn data_files(facts: &Facts) -> String {
    let files = &facts.file_stats;
    format!(
        "{}, {}, {} on average; {} small ({:.1}%), {} can be combined",
        print::count(files.total_data_files),
        print::bytes(files.total_size_bytes),
        print::bytes(files.avg_file_size_bytes),
        print::count(files.small_file_count),
        files.small_file_pct,
        print::count(files.compactable_file_count),
    )
}

fn delete_files(facts: &Facts) -> String {
    let deletes = &facts.delete_stats;
    format!(
        "{}, {}; {} rows by position, {} by equality; {} worth a rewrite for them",
        print::count(facts.file_stats.total_delete_files),
        print::bytes(deletes.delete_bytes),
        print::count(deletes.position_delete_records),
        print::count(deletes.equality_delete_records),
        print::counted(deletes.heavy_file_count, "data file"),
    )
}

fn snapshots(facts: &Facts) -> String {
    let past = &facts.snapshot_stats;
    let oldest = past.oldest_snapshot_ms.map_or_else(String::new, |oldest| {
        format!(", the oldest of {}", at(oldest))
    });
    format!(
        "{}{oldest}; {} past their retention hold {}",
        print::count(facts.snapshot_count),
        print::count(past.expirable_count),
        print::bytes(past.expirable_bytes),
    )
}

fn manifests(facts: &Facts) -> String {
    let read = facts.file_stats.manifests_read;
    let sampled = if read < facts.manifest_count {
        format!("; files are counted from {} of them", print::count(read))
    } else {
        String::new()
    };
    format!(
        "{}, {}; {} small{sampled}",
        print::count(facts.manifest_count),
        print::bytes(facts.manifest_stats.total_bytes),
        print::count(facts.manifest_stats.small_count),
    )
}

fn judged_by(policy: &Effective) -> String {
    format!(
        "files of {} ({}), {} small ones or more ({}), snapshots kept {} days ({})",
        print::bytes(policy.target_file_size_bytes.value),
        policy.target_file_size_bytes.source.as_str(),
        policy.min_input_files.value,
        policy.min_input_files.source.as_str(),
        policy.max_snapshot_age_days.value,
        policy.max_snapshot_age_days.source.as_str(),
    )
}

/// What is stored of the inventory's tables, the worst first.
async fn all(args: &Health, pool: Option<&Pool>, out: &Out) -> Result<()> {
    let Some(pool) = pool else {
        return Err(runtime::Error::Usage(
            "missing: TABLE, or SNOWPACK_DATABASE_URL to list what is stored of all".to_owned(),
        )
        .into());
    };
    if let Some(why) = unmigrated(pool).await? {
        bail!("{why}");
    }
    let client = pool.get().await?;
    let namespace = args.namespace.as_deref();
    let found = maintenance::health::worst(&**client, namespace, args.limit).await?;
    let document = json!({ "tables": found.iter().map(listed).collect::<Vec<Value>>() });
    out.result(&document, || grid(&found))
}

fn listed((table, latest): &(String, Latest)) -> Value {
    let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let payload = latest.payload.as_ref();
    json!({
        "table": table,
        "score": latest.score.map(hundredths),
        "needs_maintenance": latest.needs_maintenance,
        "recommended_actions": payload.map(|payload| &payload["recommended_actions"]),
        "assessed_at": at(latest.assessed_at),
        "checked_at": at(latest.checked_at),
        "error": latest.error,
        "failure_count": latest.failure_count,
    })
}

/// As it was before the database kept it in four bytes.
fn hundredths(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

fn grid(found: &[(String, Latest)]) -> String {
    if found.is_empty() {
        return "no tables in the inventory\n".to_owned();
    }
    let mut grid = Grid::new(&[
        "TABLE",
        ">SCORE",
        ">FILES",
        ">SMALL",
        ">SNAPSHOTS",
        "RECOMMENDED",
        "CHECKED",
    ]);
    let mut failed = String::new();
    for (table, latest) in found {
        let checked = latest.checked_at.map_or_else(|| "never".to_owned(), moment);
        if let Some(error) = &latest.error {
            failed.extend(["\n", table, ": ", error, "\n"]);
        }
        let Some(payload) = latest.payload.clone().and_then(Payload::read) else {
            let dash = || "-".to_owned();
            grid.row([
                table.clone(),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
                checked,
            ]);
            continue;
        };
        let files = &payload.facts.file_stats;
        let actions: Vec<&str> = payload
            .recommended_actions
            .iter()
            .map(|action| action.as_str())
            .collect();
        grid.row([
            table.clone(),
            format!("{:.1}", payload.assessment.score),
            print::count(files.total_data_files),
            print::share(files.small_file_count, files.total_data_files),
            print::count(payload.facts.snapshot_count),
            actions.join(", "),
            checked,
        ]);
    }
    grid.render() + &failed
}
