//! Around every request: its id, its log line, its numbers, its time limit, and the body of
//! whatever goes wrong. A route that panics costs its caller a 500 and nobody else anything.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::{Instrument, debug, error, field, info, info_span, warn};

use crate::metrics::Requests;
use crate::problem::{Kind, Problem};

/// From the request's head to the answer's.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers the request within its limits and puts its id on everything said about it.
pub(crate) async fn around(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
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
        requests.count(&method, &route, response.status(), elapsed);
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
        Ok(Err(panic)) => Problem::internal(panicked(&*panic)).into_response(),
        Err(_) => {
            let detail = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            Problem::new(Kind::Timeout, detail)
                .retry_after(ANSWER_WITHIN.as_secs())
                .into_response()
        }
    }
}

/// What a panic said, for the log.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    use utoipa_axum::router::OpenApiRouter;
    use utoipa_axum::routes;

    use super::*;

    #[utoipa::path(get, path = "/said")]
    async fn said() -> Response {
        panic!("password=hunter2")
    }

    #[utoipa::path(get, path = "/formatted")]
    async fn formatted() -> Response {
        panic!("password={}", "hunter2")
    }

    #[utoipa::path(get, path = "/odd")]
    async fn odd() -> Response {
        std::panic::panic_any(2)
    }

    #[tokio::test]
    async fn a_route_that_panics_costs_its_caller_a_500_that_says_nothing_of_it() {
        let requests = Requests::register(&prometheus::Registry::new()).unwrap();
        let (router, _) = OpenApiRouter::<()>::new()
            .routes(routes!(said))
            .routes(routes!(formatted))
            .routes(routes!(odd))
            .split_for_parts();
        let answers = router.layer(from_fn_with_state(requests, around));
        for path in ["/said", "/formatted", "/odd"] {
            let request = Request::get(path).header("x-request-id", "mine");
            let request = request.body(Body::empty()).unwrap();
            let answer = answers.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), 500, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert_eq!(answer.headers()["x-request-id"], "mine");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.contains("\"code\":\"internal\""), "{text}");
            for inner in ["hunter2", "panic", "request.rs"] {
                assert!(!text.contains(inner), "{text}");
            }
        }
    }

    #[test]
    fn what_a_panic_said_is_for_the_log() {
        let said = |panic: &(dyn std::any::Any + Send)| panicked(panic);
        assert_eq!(said(&"why"), "panic: why");
        assert_eq!(said(&"why".to_owned()), "panic: why");
        assert_eq!(said(&2), "panic: no message");
    }
}
