//! One request and its answer, and what may become of it.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use super::answer::Refusal;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Longest message of a server that is passed on, in characters.
const MESSAGE_MAX: usize = 500;

/// How servers begin to say that a table or a namespace does not exist.
const GONE: [&str; 4] = [
    "NoSuchTable",
    "NoSuchIcebergTable",
    "NoSuchTabular",
    "NoSuchNamespace",
];

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// What was set cannot be used.
    #[error("{0}")]
    Config(Source),
    /// There is no token to ask with: the catalog has not heard of the request.
    #[error("no token is to be had")]
    Token(#[source] Box<Trouble>),
    /// The server was not reached: it has not heard of the request.
    #[error("the server cannot be reached")]
    Unreached(#[source] Source),
    /// It may have heard of it.
    #[error("the server did not answer")]
    Unanswered(#[source] Source),
    #[error("the server answered {status}{}", said(.kind.as_deref(), .message.as_deref()))]
    Refused {
        status: StatusCode,
        kind: Option<String>,
        message: Option<String>,
        retry_after: Option<Duration>,
    },
    /// An answer that is none.
    #[error("the server's answer cannot be understood")]
    Garbled(#[source] Source),
    #[error("the server's answer is longer than {0} bytes, the most that is read")]
    TooLong(usize),
}

fn said(kind: Option<&str>, message: Option<&str>) -> String {
    match (kind, message) {
        (Some(kind), Some(message)) => format!(": {kind}: {message}"),
        (None, Some(text)) | (Some(text), None) => format!(": {text}"),
        (None, None) => String::new(),
    }
}

impl Trouble {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The table or namespace asked for is not there, as the protocol says it. An address that leads
    /// nowhere, a warehouse or a metadata file that is gone are answered in other words.
    pub(super) fn missing(&self) -> bool {
        let gone = GONE.iter().any(|kind| self.kind().starts_with(kind));
        self.status() == Some(StatusCode::NOT_FOUND) && gone
    }

    fn kind(&self) -> &str {
        match self {
            Self::Refused { kind, .. } => kind.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    pub(super) fn conflict(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// The token was not taken.
    pub(super) fn unauthorized(&self) -> bool {
        // 419: the token is too old (REST specification).
        self.status()
            .is_some_and(|status| matches!(status.as_u16(), 401 | 419))
    }

    /// Whether the same request may go well later.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Token(trouble) => trouble.passes(),
            Self::Unreached(_) | Self::Unanswered(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Config(_) | Self::Garbled(_) | Self::TooLong(_) => false,
        }
    }

    /// Whether a change that was asked for may have been made all the same.
    pub(super) fn may_have_landed(&self) -> bool {
        match self {
            Self::Unanswered(_) | Self::Garbled(_) | Self::TooLong(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || self.kind() == "CommitStateUnknownException"
            }
            Self::Config(_) | Self::Token(_) | Self::Unreached(_) => false,
        }
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Token(trouble) => trouble.retry_after(),
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| Trouble::Garbled(error.into()))
    }
}

/// Sends a request and reads an answer of at most `bytes_max` bytes.
pub(super) async fn answered(request: RequestBuilder, bytes_max: usize) -> Result<Answer, Trouble> {
    let mut answer = request.send().await.map_err(|error| {
        let error = error.without_url();
        if error.is_builder() {
            Trouble::Config(error.into())
        } else if error.is_connect() {
            Trouble::Unreached(error.into())
        } else {
            Trouble::Unanswered(error.into())
        }
    })?;
    let status = answer.status();
    let seconds = answer.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|error| Trouble::Unanswered(error.without_url().into()))?;
        let Some(chunk) = chunk else {
            break;
        };
        if body.len() + chunk.len() > bytes_max {
            return Err(Trouble::TooLong(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(Answer { body });
    }
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    let (kind, message) = refusal.words();
    let short = |text: String| text.chars().take(MESSAGE_MAX).collect();
    Err(Trouble::Refused {
        status,
        kind: kind.map(short),
        message: message.map(short),
        retry_after: seconds.map(Duration::from_secs),
    })
}
