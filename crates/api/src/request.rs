//! Around every request: its id, its log line, its numbers, its time limit, and the body of
//! whatever goes wrong. A route that panics costs its caller a 500 and nobody else anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::{Instrument, debug, error, field, info, info_span, warn};

use crate::problem::{Kind, Problem};
use crate::state::Api;

/// From the request's head to the answer's.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers the request within its limits and puts its id on everything said about it.
pub(crate) async fn around(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "unknown".to_owned(), |route| route.as_str().to_owned());
    let span = info_span!("request", request_id = id, %method, path, subject = field::Empty);
    let started = Instant::now();
    let answered = async {
        let mut response = within_limits(next.run(request)).await;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            log(&problem);
            response = problem.write(&id);
        }
        let elapsed = started.elapsed();
        say(&route, response.status().as_u16(), elapsed);
        api.requests
            .count(&method, &route, response.status(), elapsed);
        response
    };
    let mut response = answered.instrument(span).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's own id, if it is one that cannot be mistaken for something else in a log.
fn id(headers: &HeaderMap) -> String {
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let sane = given.filter(|id| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain)
    });
    sane.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

async fn within_limits(answer: impl Future<Output = Response>) -> Response {
    let answer = AssertUnwindSafe(answer).catch_unwind();
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let why = text.unwrap_or_else(|| "no message".to_owned());
            Problem::internal(format!("panic: {why}")).into_response()
        }
        Err(_) => {
            let detail = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            Problem::new(Kind::Timeout, detail)
                .retry_after(ANSWER_WITHIN.as_secs())
                .into_response()
        }
    }
}

/// What only we may know of a problem.
fn log(problem: &Problem) {
    let why = problem.why();
    match problem.kind() {
        Kind::Internal => error!(why, "request failed"),
        Kind::Unavailable | Kind::Timeout => warn!(why, "request failed"),
        kind => debug!(code = kind.code(), why, "request refused"),
    }
}

fn say(route: &str, status: u16, elapsed: Duration) {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    // Probes and scrapes come every few seconds and say nothing new.
    if matches!(route, "/healthz" | "/readyz" | "/metrics") {
        debug!(status, elapsed_ms, "answered");
    } else {
        info!(status, elapsed_ms, "answered");
    }
}
