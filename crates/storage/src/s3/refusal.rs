//! What S3 answered when it did not do as asked, and what that means to a caller.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use model::Advice;
use object_store::HeaderMap;
use object_store::client::{HttpError, HttpErrorKind};

use super::bucket::Object;
use crate::retry::Again;
use crate::{BucketError, Error, Fault};

/// Longest text of a server that is passed on, in characters.
const TEXT_LENGTH_MAX: usize = 300;

/// An answer that is no success.
#[derive(Debug, Clone, thiserror::Error)]
#[error("S3 answered {status} {code} {message}")]
pub(crate) struct Refusal {
    status: u16,
    /// S3's own word for it; empty where an answer has no body (HEAD).
    code: String,
    message: String,
    /// Where the bucket lies, if the answer says so.
    region: Option<String>,
    /// When to come again, if the answer says so.
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let message = element(&body, "Message").unwrap_or_default();
        let header = headers.get("x-amz-bucket-region");
        let region = header
            .and_then(|region| region.to_str().ok())
            .or_else(|| element(&body, "Region"));
        Self {
            status,
            code: short(element(&body, "Code").unwrap_or_default()),
            // Advice follows in the same sentence.
            message: short(message.trim_end_matches('.')),
            region: region.map(str::to_owned),
            retry_after: retry_after(headers),
        }
    }
}

/// `Retry-After` of RFC 9110: seconds, or a date, which counts from that of the answer.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let told = text("retry-after")?;
    if let Ok(seconds) = told.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    let (then, now) = (date(told)?, date(text("date")?)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Whether the body of a success says that it is none: S3 may begin to answer before it knows.
pub(crate) fn is_error(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_LENGTH_MAX)]);
    let text = text.trim_start();
    let root = match text.strip_prefix("<?") {
        Some(declared) => declared.split_once("?>").map_or("", |(_, rest)| rest),
        None => text,
    };
    root.trim_start().starts_with("<Error")
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_LENGTH_MAX).collect()
}

/// Why a call failed, in the words of those who called.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Something lies there; it may be ours, if an answer was lost.
    Exists,
    /// The range begins behind the end.
    OutOfRange,
    /// The multipart upload is not there any more: aborted, or complete.
    NoUpload,
    Other(Error),
}

impl Problem {
    /// Whether the same call may succeed a moment later.
    pub(crate) fn again(&self) -> Again {
        match self {
            // Whoever gives out keys was asked long enough.
            Self::Other(Error::Bucket(error)) if matches!(error.fault, Fault::NoKey { .. }) => {
                Again::Never
            }
            Self::Exists | Self::OutOfRange | Self::NoUpload => Again::Never,
            Self::Other(error) if error.advice() != Advice::RetryLater => Again::Never,
            Self::Other(error) => asked(error).map_or(Again::Later, Again::After),
        }
    }

    /// The error of a call to which the others do not happen.
    pub(crate) fn error(self, object: &Object) -> Error {
        let location = object.location.clone();
        match self {
            Self::Other(error) => error,
            Self::Exists => Error::AlreadyExists { location },
            Self::NoUpload | Self::OutOfRange => Error::NotFound { location },
        }
    }
}

/// When the server said to come again.
fn asked(error: &Error) -> Option<Duration> {
    let Error::Failed { source, .. } = error else {
        return None;
    };
    source.get_ref()?.downcast_ref::<Refusal>()?.retry_after
}

/// Puts the library's error in our words.
pub(crate) fn explain(
    doing: &'static str,
    object: &Object,
    error: &object_store::Error,
) -> Problem {
    if let Some(refusal) = chain(error).find_map(|error| error.downcast_ref::<Refusal>()) {
        return refused(doing, object, refusal);
    }
    let location = object.location.clone();
    let http = chain(error).find_map(|error| error.downcast_ref::<HttpError>());
    let last = chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    let kind = match http.map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => {
            let endpoint = object.bucket.endpoint.clone();
            let why = short(&last);
            return Problem::Other(fault(doing, object, Fault::Unreachable { endpoint, why }));
        }
        Some(HttpErrorKind::Timeout) => io::ErrorKind::TimedOut,
        // The connection broke, or the answer was cut.
        Some(_) => io::ErrorKind::ConnectionReset,
        None => io::ErrorKind::Other,
    };
    let source = io::Error::new(kind, short(&last));
    Problem::Other(Error::Failed {
        doing,
        location,
        source,
    })
}

/// The error and what caused it, outermost first.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn refused(doing: &'static str, object: &Object, refusal: &Refusal) -> Problem {
    let location = object.location.clone();
    let error = match (refusal.status, refusal.code.as_str()) {
        (_, "NoSuchUpload") => return Problem::NoUpload,
        (_, "NoSuchBucket" | "InvalidBucketName") => {
            let endpoint = object.bucket.endpoint.clone();
            fault(doing, object, Fault::Missing { endpoint })
        }
        (404, "" | "NoSuchKey" | "NotFound" | "NoSuchVersion") => Error::NotFound { location },
        (304 | 412, _) => return Problem::Exists,
        (416, _) => return Problem::OutOfRange,
        (300..=399, _) | (_, "IllegalLocationConstraintException") => {
            wrong_region(doing, object, refusal)
        }
        (_, "AuthorizationHeaderMalformed") if refusal.region.is_some() => {
            wrong_region(doing, object, refusal)
        }
        // The last is versitygw's word for an unknown key id, with status 404.
        (401 | 403, _)
        | (
            _,
            "AuthorizationHeaderMalformed" | "ExpiredToken" | "InvalidToken" | "XAdminUserNotFound",
        ) => {
            let why = refusal.to_string();
            fault(doing, object, Fault::Denied { why })
        }
        _ => Error::Failed {
            doing,
            location,
            source: io::Error::new(kind(refusal), refusal.clone()),
        },
    };
    Problem::Other(error)
}

fn fault(doing: &'static str, object: &Object, fault: Fault) -> Error {
    Error::Bucket(Box::new(BucketError {
        doing,
        location: object.location.clone(),
        bucket: object.bucket.name.clone(),
        fault,
    }))
}

/// [`io::ErrorKind::ResourceBusy`] for what may pass.
fn kind(refusal: &Refusal) -> io::ErrorKind {
    match (refusal.status, refusal.code.as_str()) {
        (501, _) => io::ErrorKind::Unsupported,
        // A conflict is not "exists already": two requests met, and one has to come again.
        (500..=599 | 408 | 409 | 425 | 429, _)
        | (_, "SlowDown" | "InternalError" | "RequestTimeout" | "ServiceUnavailable") => {
            io::ErrorKind::ResourceBusy
        }
        _ => io::ErrorKind::Other,
    }
}

fn wrong_region(doing: &'static str, object: &Object, refusal: &Refusal) -> Error {
    let region = refusal.region.clone();
    let region = region.unwrap_or_else(|| "the bucket's region".to_owned());
    let set = object.bucket.region.clone();
    fault(doing, object, Fault::WrongRegion { set, region })
}

pub(crate) fn no_key(doing: &'static str, object: &Object, why: &str) -> Problem {
    let why = short(why);
    Problem::Other(fault(doing, object, Fault::NoKey { why }))
}

/// A bulk delete that said nothing of one of its keys; deleting twice is safe.
pub(crate) fn unsaid(object: &Object) -> Problem {
    let why = "S3 did not say what became of it";
    Problem::Other(Error::Failed {
        doing: "delete",
        location: object.location.clone(),
        source: io::Error::new(io::ErrorKind::ResourceBusy, why),
    })
}

/// What became of one key of a bulk delete. The library says S3's word for it in its text only.
pub(crate) fn explain_delete(object: &Object, error: &object_store::Error) -> Result<(), Problem> {
    let text = chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    let code = text
        .rsplit_once("(code: ")
        .and_then(|(_, code)| code.split_once(')'))
        .map(|(code, _)| code.to_owned());
    match code {
        Some(code) if matches!(code.as_str(), "NoSuchKey" | "NoSuchVersion") => Ok(()),
        Some(code) => {
            let status = if code == "AccessDenied" { 403 } else { 200 };
            let refusal = Refusal {
                status,
                code,
                message: String::new(),
                region: None,
                retry_after: None,
            };
            Err(refused("delete", object, &refusal))
        }
        None => match explain("delete", object, error) {
            // An answer that cannot be read says nothing of what was done.
            Problem::Other(Error::Failed { source, .. }) if unread(&source) => Err(unsaid(object)),
            problem => Err(problem),
        },
    }
}

fn unread(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::Other
        && !matches!(source.get_ref(), Some(inner) if inner.is::<Refusal>())
}

#[cfg(test)]
mod tests {
    use object_store::HeaderValue;

    use super::*;

    const NOW: &str = "Fri, 31 Dec 1999 23:59:30 GMT";

    #[test]
    fn a_refusal_says_when_to_come_again_if_its_answer_does() {
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        for (told, now, want) in [
            (Some("7"), NOW, after(7)),
            (Some(" 0 "), "", after(0)),
            (Some("Fri, 31 Dec 1999 23:59:59 GMT"), NOW, after(29)),
            (Some("Fri, 31 Dec 1999 23:59:00 GMT"), NOW, after(0)),
            (Some("Fri, 31 Dec 1999 23:59:59 GMT"), "", Again::Later),
            (Some("Fri, 31 Dec 1999 23:59:59 GMT"), "soon", Again::Later),
            (Some("-1"), NOW, Again::Later),
            (Some("tomorrow"), NOW, Again::Later),
            (None, NOW, Again::Later),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("date", HeaderValue::from_static(now));
            if let Some(told) = told {
                headers.insert("retry-after", HeaderValue::from_static(told));
            }
            let refusal = Refusal::new(503, &headers, b"<Error><Code>SlowDown</Code></Error>");
            let source = io::Error::new(kind(&refusal), refusal);
            let error = Error::Failed {
                doing: "read",
                location: "s3://b/a".to_owned(),
                source,
            };
            assert_eq!(Problem::Other(error).again(), want, "{told:?} {now}");
        }
    }
}
