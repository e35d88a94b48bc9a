//! What a caller is told when it does not get what it asked for: RFC 9457, one body everywhere.
//!
//! A route returns a [`Problem`]; [`crate::request`] writes its body, because only there the
//! request's id is known, and logs its cause. Internals never reach the caller.

use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use model::{Advice, JobId};
use serde::Serialize;

/// The media type of every error body.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which what is out of reach may be asked for again.
const UNAVAILABLE_RETRY_SECONDS: u64 = 5;

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// What kind of problem: one code, one status, one title each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind { $($name,)+ }

        impl Kind {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)+];

            /// For programs: does not change.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

kinds! {
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be used";
    BadCursor = "bad_cursor", BAD_REQUEST, "The cursor is not of this listing";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Say who you are";
    Forbidden = "forbidden", FORBIDDEN, "Your role does not allow this";
    NoSuchRoute = "no_such_route", NOT_FOUND, "There is no such route";
    NoSuchTable = "no_such_table", NOT_FOUND, "The table is not known";
    NoSuchJob = "no_such_job", NOT_FOUND, "The job is not known";
    NoSuchRun = "no_such_run", NOT_FOUND, "The run is not known";
    NotAssessed = "not_assessed", NOT_FOUND, "The table was never assessed";
    NoSuchLane = "no_such_lane", NOT_FOUND, "The lane is not known";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The route has no such method";
    TableLocked = "table_locked", CONFLICT, "Another job holds the table";
    JobLive = "job_live", CONFLICT, "The job has not ended";
    JobEnded = "job_ended", CONFLICT, "The job has ended";
    NotRetried = "not_retried", CONFLICT, "The job is not tried again";
    AlreadyRunning = "already_running", CONFLICT, "It is under way already";
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    MediaType = "media_type", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON";
    BadName = "bad_name", UNPROCESSABLE_ENTITY, "The table name cannot be used";
    KeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The idempotency key was used for other work";
    TableUnreadable = "table_unreadable", BAD_GATEWAY, "The table cannot be read";
    Kubernetes = "kubernetes", BAD_GATEWAY, "Kubernetes refuses it";
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "Too many requests";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something broke";
    DrainMode = "drain_mode", SERVICE_UNAVAILABLE, "New jobs are refused";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Something needed is out of reach";
    Timeout = "timeout", SERVICE_UNAVAILABLE, "There was no answer in time";
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct FieldError {
    /// Where it is: `body.actions[1]`, `query.limit`, `path.database`, `header.x`.
    pub(crate) path: String,
    /// What is wrong with it and what is allowed.
    pub(crate) detail: String,
}

/// A refusal or a failure on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    // Boxed: every `Result` of every route carries one.
    more: Box<More>,
}

#[derive(Debug, Clone, Default)]
struct More {
    detail: String,
    errors: Vec<FieldError>,
    job: Option<JobId>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<String>,
}

/// The body of every answer that is no success (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// `urn:snowpack:problem:` and the code
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: &'a str,
    pub(crate) status: u16,
    /// The kind of problem in one word, for programs
    pub(crate) code: &'a str,
    pub(crate) detail: &'a str,
    /// As in the header `X-Request-ID`, and in the log
    pub(crate) request_id: &'a str,
    pub(crate) errors: &'a [FieldError],
    /// The job that stands in the way
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job_id: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let more = More {
            detail: detail.into(),
            ..More::default()
        };
        Self {
            kind,
            more: Box::new(more),
        }
    }

    /// One field is wrong, and nothing else is.
    pub(crate) fn field(kind: Kind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        let (path, detail) = (path.into(), detail.into());
        Self::new(kind, format!("{path}: {detail}")).at(path, detail)
    }

    /// Something of ours broke. The caller learns no more than that; the log gets `cause`.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let said = "the request could not be answered; the log has more under its request_id";
        Self::new(Kind::Internal, said).because(cause)
    }

    /// Something we need does not answer.
    pub(crate) fn unavailable(what: &str, cause: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, format!("{what} does not answer"))
            .because(cause)
            .retry_after(UNAVAILABLE_RETRY_SECONDS)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn at(mut self, path: impl Into<String>, detail: impl Into<String>) -> Self {
        self.more.errors.push(FieldError {
            path: path.into(),
            detail: detail.into(),
        });
        self
    }

    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.more.cause = Some(cause.into());
        self
    }

    /// Names the job that stands in the way.
    fn job(mut self, job: JobId) -> Self {
        self.more.job = Some(job);
        self
    }

    /// An error of ours: out of reach or broken, by its advice.
    pub(crate) fn of(
        what: &str,
        advice: Advice,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let cause = runtime::chain(error);
        match advice {
            Advice::RetryLater => Self::unavailable(what, cause),
            _ => Self::internal(cause),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What the log may know.
    pub(crate) fn why(&self) -> &str {
        self.more.cause.as_deref().unwrap_or(&self.more.detail)
    }

    /// The answer, whole.
    pub(crate) fn write(&self, request_id: &str) -> Response {
        let code = self.kind.code();
        let body = Body {
            kind: format!("urn:snowpack:problem:{code}"),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            code,
            detail: &self.more.detail,
            request_id,
            errors: &self.more.errors,
            job_id: self.more.job.as_ref().map(JobId::as_str),
        };
        // Strings and numbers can always be written.
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.kind.status(), text).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in &self.more.headers {
            headers.insert(name, value.clone());
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Without a body: [`crate::request`] writes it.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<pg::Error> for Problem {
    fn from(error: pg::Error) -> Self {
        let advice = if unreachable(&error) {
            Advice::RetryLater
        } else {
            error.advice()
        };
        Self::of("Postgres", advice, &error)
    }
}

impl From<catalog::Error> for Problem {
    fn from(error: catalog::Error) -> Self {
        let advice = if unreachable(&error) {
            Advice::RetryLater
        } else {
            error.advice()
        };
        Self::of("the catalog", advice, &error)
    }
}

/// A connection that cannot be made is out of reach, whatever the server's reason.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .filter_map(<dyn std::error::Error>::downcast_ref::<pg::Error>)
        .any(|error| matches!(error, pg::Error::Connect { .. }))
}

impl From<steward::Error> for Problem {
    fn from(error: steward::Error) -> Self {
        use catalog::Error::{NoSuchNamespace, NoSuchTable};
        use steward::Error;
        match error {
            Error::Pool(error) => error.into(),
            Error::Maintenance(error) => error.into(),
            Error::Catalog(NoSuchTable(_) | NoSuchNamespace(_)) => {
                Self::new(Kind::NoSuchTable, error.to_string())
            }
            Error::Catalog(_) | Error::Metadata(_)
                if error.advice() == Advice::RetryLater || unreachable(&error) =>
            {
                Self::unavailable("the catalog or its storage", runtime::chain(&error))
            }
            Error::Catalog(_) | Error::Metadata(_) => {
                Self::new(Kind::TableUnreadable, error.to_string()).because(runtime::chain(&error))
            }
            error => Self::of("Postgres", error.advice(), &error),
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(error: queue::Error) -> Self {
        Self::of("Postgres", error.advice(), &error)
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of("Postgres", pg::advice(&error), &error)
    }
}

impl From<maintenance::Error> for Problem {
    fn from(error: maintenance::Error) -> Self {
        use maintenance::Error;
        let said = error.to_string();
        match error {
            Error::NoActions => Self::field(Kind::BadRequest, "body.actions", said),
            Error::StrayOptions(_) => Self::field(Kind::BadRequest, "body.options", said),
            Error::BadSubmission { field, .. } => {
                let path = format!("body.{}", field.replace(' ', "_"));
                Self::field(Kind::BadRequest, path, said)
            }
            Error::Locked { holder, .. } => Self::new(Kind::TableLocked, said).job(holder),
            Error::Draining { .. } => Self::new(Kind::DrainMode, said).retry_after(60),
            Error::IdempotencyMismatch { job, .. } => {
                Self::field(Kind::KeyReused, "body.idempotency_key", said).job(job)
            }
            Error::NoSuchJob(_) => Self::new(Kind::NoSuchJob, said),
            Error::Ended { job, .. } => Self::new(Kind::JobEnded, said).job(job),
            Error::NotRetried { job, .. } => Self::new(Kind::NotRetried, said).job(job),
            Error::Pool { source, .. } => source.into(),
            Error::Live { job, .. } => Self::new(Kind::JobLive, said).job(job),
            error => Self::of("Postgres", error.advice(), &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own_and_a_status_that_says_no() {
        let codes: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let status = kind.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{kind:?}"
            );
        }
    }
}
