//! Submission: the checks in their order, then one transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maintenance::jobs::Options;
use maintenance::{Error, Submission, Submitted, overview, settings};
use model::{Action, JobId, TableName};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use steward::dry_run;
use tracing::{debug, info};

use crate::auth::{Caller, Operator};
use crate::extract::{Names, Payload, printable};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::routes::jobs::{WholeJob, whole};
use crate::state::Api;

/// When a caller should look at its job again.
const LOOK_AGAIN_SECONDS: u64 = 30;

/// What to do to a table.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceRequest {
    /// In any order; they run in canonical order, each once
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["rewrite_data_files"]))]
    actions: Vec<Action>,
    /// Options of each action
    #[serde(default)]
    #[schema(value_type = Object,
        example = json!({"rewrite_data_files": {"min-input-files": "2"}}))]
    options: BTreeMap<String, BTreeMap<String, Scalar>>,
    /// Plan at once and change nothing: the job that is answered has ended and holds the plans
    #[serde(default)]
    dry_run: bool,
    /// A smaller number runs first
    #[serde(default)]
    #[schema(minimum = -3, maximum = 3, default = 0)]
    priority: i16,
    /// The same key for the same work of the same caller is the same job
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500)]
    idempotency_key: Option<String>,
}

/// A string, or what JSON writes without quotes: options are text in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// Submit maintenance for a table
///
/// Checked in this order: drain mode (503 `drain_mode`), the names (422), actions and options
/// (400), whether the table is known (404), whether another job holds it (409, naming the job).
#[utoipa::path(post, path = "/tables/{database}/{table}/maintenance", tag = "tables",
    params(
        ("database" = String, Path, description = "Levels joined by dots; one that holds a dot or a quote in double quotes"),
        ("table" = String, Path, description = "The table's name in its database")),
    request_body = MaintenanceRequest,
    responses(
        (status = 202, description = "A new job waits, or a dry run is done", body = WholeJob,
            headers(("Location" = String, description = "The job"),
                ("Retry-After" = u64, description = "When to look again; not of a dry run"))),
        (status = 200, description = "The job submitted earlier under this key", body = WholeJob,
            headers(("Location" = String, description = "The job"))),
        (status = 404, description = "The table is not in the cache"),
        (status = 409, description = "Another job holds the table; `job_id` names it"),
        (status = 422, description = "The names cannot be used, or the key was used for other work"),
        Refused))]
pub(crate) async fn submit(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    names: Names,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let mut client = api.pool.get().await?;
    if let Some(drain) = settings::drained(&**client).await? {
        let (by, reason) = (drain.by, drain.reason);
        return Err(Error::Draining { by, reason }.into());
    }
    let table = names.table()?;
    let asked = submission(&table, &caller, &headers, payload.json()?)?;
    if !overview::known(&**client, &table).await? {
        let detail = format!("{table} is not in the table cache; GET /tables lists what is");
        return Err(Problem::new(Kind::NoSuchTable, detail));
    }
    if asked.dry_run {
        // Planning has connections of its own and takes its time.
        drop(client);
        return dry_run(&api, &asked).await;
    }
    let tx = (**client).transaction().await?;
    let submitted = maintenance::submit(&tx, &asked).await?;
    tx.commit().await?;
    submitted_as(&client, &submitted, &asked.submitted_by).await
}

/// Wakes the lane and answers with the job.
pub(crate) async fn submitted_as(
    client: &pg::Client,
    submitted: &Submitted,
    by: &str,
) -> Result<Response, Problem> {
    // The job is queued: a lost wake-up only costs one poll.
    if let Err(error) = maintenance::queue().notify(&***client).await {
        debug!(%error, "workers will see the job at their next poll");
    }
    let id = submitted.job();
    let new = matches!(submitted, Submitted::New(_));
    let job = whole(client, id).await?;
    info!(job = %id, table = job.table(), by, new, "submitted");
    let place = location(id)?;
    if new {
        let again = HeaderValue::from(LOOK_AGAIN_SECONDS);
        let headers = [(LOCATION, place), (RETRY_AFTER, again)];
        return Ok((StatusCode::ACCEPTED, headers, Json(job)).into_response());
    }
    Ok((StatusCode::OK, [(LOCATION, place)], Json(job)).into_response())
}

/// Plans now; nothing waits for a worker.
async fn dry_run(api: &Api, asked: &Submission) -> Result<Response, Problem> {
    let catalog = api.lakehouse.catalog().await?;
    let job = steward::dry_run::run(&api.pool, &*catalog, asked).await?;
    let (place, client) = (location(&job.id)?, api.pool.get().await?);
    info!(job = %job.id, table = %job.table, by = asked.submitted_by, "planned");
    let job = whole(&client, &job.id).await?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, place)], Json(job)).into_response())
}

fn location(id: &JobId) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(&format!("/jobs/{id}"))
        .map_err(|_| Problem::internal("a job's id is no header"))
}

impl From<dry_run::Error> for Problem {
    fn from(error: dry_run::Error) -> Self {
        use catalog::Error::NoSuchTable;
        match error {
            dry_run::Error::BadOption(bad) => refused(&bad),
            dry_run::Error::Maintenance(error) => error.into(),
            dry_run::Error::Planning {
                source:
                    survey::Error::Catalog {
                        source: NoSuchTable(table),
                        ..
                    },
                ..
            } => Problem::new(Kind::NoSuchTable, format!("{table} is not in the catalog")),
            error @ dry_run::Error::Planning { .. } => {
                Problem::of("the table", error.advice(), &error)
            }
        }
    }
}

/// The submission, with actions and options checked.
fn submission(
    table: &TableName,
    caller: &Caller,
    headers: &HeaderMap,
    asked: MaintenanceRequest,
) -> Result<Submission, Problem> {
    if let Some(key) = &asked.idempotency_key {
        printable("body.idempotency_key", key)?;
    }
    let options = asked.options.into_iter().map(texts);
    let options = options.collect::<Result<Options, Problem>>()?;
    let none = BTreeMap::new();
    for action in &asked.actions {
        let own = options.get(action).unwrap_or(&none);
        planner::Task::parse(*action, own).map_err(|bad| refused(&bad))?;
    }
    let asked = Submission {
        options,
        dry_run: asked.dry_run,
        priority: asked.priority,
        idempotency_key: asked.idempotency_key,
        trace_context: trace_context(headers),
        ..Submission::new(table.clone(), asked.actions, caller.submitter())
    };
    asked.check()?;
    Ok(asked)
}

fn texts(
    (action, options): (String, BTreeMap<String, Scalar>),
) -> Result<(Action, BTreeMap<String, String>), Problem> {
    let known = action.parse().map_err(|unknown: model::UnknownAction| {
        let path = format!("body.options.{action}");
        Problem::field(Kind::BadRequest, path, unknown.to_string())
    })?;
    let texts = options.into_iter().map(|(key, Scalar(text))| {
        let path = format!("body.options.{action}.{key}");
        printable(path, &text)?;
        Ok((key, text))
    });
    let texts = texts.collect::<Result<_, Problem>>()?;
    Ok((known, texts))
}

fn refused(bad: &planner::BadOption) -> Problem {
    let (planner::BadOption::Unknown { action, key, .. }
    | planner::BadOption::Value { action, key, .. }) = bad;
    let path = format!("body.options.{action}.{key}");
    Problem::field(Kind::BadRequest, path, bad.to_string())
}

/// The caller's W3C `traceparent`, if it is one: the job's work belongs to its trace.
fn trace_context(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = parts.iter().all(|part| part.bytes().all(lower_hex));
    (lengths == [2, 32, 16, 2] && digits).then(|| text.to_owned())
}
