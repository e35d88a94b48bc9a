//! What a route takes from a request, checked: table names, query, JSON body. Every refusal
//! names the field, what it holds and what is allowed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use model::{JobId, TableName};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::problem::{Kind, Problem};

/// Largest body taken.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Of a larger one, so much is read before the connection is closed.
const DISCARDED_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;
/// Ours have 36.
const JOB_ID_BYTES_MAX: usize = 100;
/// Rows of a page unless asked otherwise, and at most.
pub(crate) const PAGE_DEFAULT: u32 = 100;
pub(crate) const PAGE_MAX: u32 = 500;

/// `{database}/{table}` of the path, not read yet: some routes check other things first.
#[derive(Debug, Clone)]
pub(crate) struct Names(Result<(String, String), String>);

impl Names {
    /// The table's name, or 422. Both are as in a job: a database of several levels is their
    /// names joined by dots, a level that holds a dot or a quote in double quotes.
    pub(crate) fn table(&self) -> Result<TableName, Problem> {
        let refused = |path: &str, why: String| Problem::field(Kind::BadName, path, why);
        let (database, table) = match &self.0 {
            Ok(names) => names,
            Err(why) => return Err(refused("path", why.clone())),
        };
        TableName::from_columns(database, table).map_err(|bad| {
            let place = if table.is_empty() {
                "path.table"
            } else {
                "path"
            };
            refused(place, bad.to_string())
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = Path::<(String, String)>::from_request_parts(parts, state).await;
        Ok(Self(names.map(|Path(names)| names).map_err(
            |rejection| match rejection {
                PathRejection::FailedToDeserializePathParams(_) => {
                    "the names are not UTF-8".to_owned()
                }
                other => other.body_text(),
            },
        )))
    }
}

/// The one name in the path: any text Postgres can hold.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Path(name)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::field(Kind::BadRequest, "path", "it is not UTF-8"));
        };
        if name.contains('\0') {
            return Err(Problem::field(Kind::BadRequest, "path", NUL));
        }
        Ok(Self(name))
    }
}

/// What Postgres cannot hold in a text.
const NUL: &str = "it holds the control character U+0000, which nothing here has";

/// `{job_id}` of the path. What could not be a job's id is that of no job.
#[derive(Debug)]
pub(crate) struct Job(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Job {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        let id = id.map(|Path(id)| id).ok();
        let possible = id.filter(|id| {
            let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            id.len() <= JOB_ID_BYTES_MAX && id.bytes().all(sane)
        });
        let id = possible.ok_or_else(|| Problem::new(Kind::NoSuchJob, "no job has such an id"))?;
        Ok(Self(JobId::new(id)))
    }
}

/// Refuses text that no log, no page and no database shows as it is: Postgres has no NUL.
pub(crate) fn printable(path: impl Into<String>, text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        let why = "a control character is in it; allowed is text without";
        return Err(Problem::field(Kind::BadRequest, path, why));
    }
    Ok(())
}

/// The query string as `T`, which lists every key there is.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes());
        // Whatever is in a cursor, it never gets to Postgres.
        let nul = |(key, value): &(Cow<str>, Cow<str>)| key != "cursor" && value.contains('\0');
        if let Some((key, _)) = pairs.clone().find(nul) {
            return Err(Problem::field(
                Kind::BadRequest,
                format!("query.{key}"),
                NUL,
            ));
        }
        let pairs = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|error| wrong("query", &error))
    }
}

/// `limit`: rows of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Limit(pub(crate) u32);

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE_DEFAULT)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let limit = text.parse().ok();
        limit
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .map(Self)
            .ok_or_else(|| format!("`{text}`: allowed is a whole number from 1 to {PAGE_MAX}"))
    }
}

/// The body's bytes, bounded, not read yet: some routes check other things first.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Bytes,
    json: bool,
}

impl Payload {
    /// The body as `T`, which lists every field there is.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.json {
            let why = "allowed is `application/json`";
            return Err(Problem::field(Kind::MediaType, "header.content-type", why));
        }
        let mut text = serde_json::Deserializer::from_slice(&self.bytes);
        let read = serde_path_to_error::deserialize::<_, Object<T>>(&mut text);
        let Object(value) = read.map_err(|e| wrong("body", &e))?;
        text.end()
            .map_err(|error| Problem::field(Kind::BadRequest, "body", error.to_string()))?;
        self.storable()?;
        Ok(value)
    }

    /// As [`Self::json`]; no body at all, or `null`, is `None`.
    pub(crate) fn json_or_none<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        if matches!(self.bytes.trim_ascii(), b"" | b"null") {
            return Ok(None);
        }
        self.json().map(Some)
    }

    /// Refuses texts that Postgres cannot hold. JSON can only write that character escaped.
    fn storable(&self) -> Result<(), Problem> {
        let escape = b"\\u0000";
        if !self.bytes.windows(escape.len()).any(|part| part == escape) {
            return Ok(());
        }
        let document = serde_json::from_slice(&self.bytes).unwrap_or_default();
        match nul(&document, "body") {
            Some(path) => Err(Problem::field(Kind::BadRequest, path, NUL)),
            None => Ok(()),
        }
    }
}

/// A `T` written as a JSON object. By itself serde also takes a list of the fields' values.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Where in a document U+0000 is.
pub(crate) fn nul(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        Value::Array(values) => {
            let mut values = values.iter().enumerate();
            values.find_map(|(at, value)| nul(value, &format!("{path}[{at}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                return Some(path.to_owned());
            }
            nul(value, &format!("{path}.{name}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let announced = request.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let large = announced.is_some_and(|length| BODY_BYTES_MAX < length);
        // Who asks first has sent nothing yet.
        if large && request.headers().contains_key(EXPECT) {
            return Err(too_large());
        }
        let bytes = read(request.into_body()).await?;
        Ok(Self { bytes, json })
    }
}

fn too_large() -> Problem {
    let detail = format!("at most {BODY_BYTES_MAX} bytes are taken");
    Problem::field(Kind::TooLarge, "body", detail)
}

/// The whole body. What is too much is read for a while and thrown away: a connection closed with
/// unread bytes takes the answer with it.
async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let (mut bytes, mut seen) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let early = |_| Problem::field(Kind::BadRequest, "body", "it ended early");
        let Ok(data) = frame.map_err(early)?.into_data() else {
            continue;
        };
        seen += data.len();
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if DISCARDED_BYTES_MAX < seen {
            break;
        }
    }
    if BODY_BYTES_MAX < seen {
        return Err(too_large());
    }
    Ok(bytes.freeze())
}

/// `application/json`, with or without parameters, or anything that ends in `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(media_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let name = media_type.split(';').next().unwrap_or_default().trim();
    let name = name.to_ascii_lowercase();
    name == "application/json" || (name.starts_with("application/") && name.ends_with("+json"))
}

fn wrong<E: std::fmt::Display>(place: &str, error: &serde_path_to_error::Error<E>) -> Problem {
    let path = match error.path().to_string().as_str() {
        "." | "?" => place.to_owned(),
        inner => format!("{place}.{inner}"),
    };
    Problem::field(Kind::BadRequest, path, error.inner().to_string())
}
