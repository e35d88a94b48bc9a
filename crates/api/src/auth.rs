//! Who asks, and what they may do.
//!
//! [`admit`] stands before every route that is not open to all: it finds the [`Caller`] or
//! answers 401, and bounds how often anybody may ask. A route says what it needs by taking
//! [`Reader`], [`Operator`] or [`Admin`].
//!
//! Whether a token has expired is judged by this process's clock, as RFC 7519 means it and with
//! a minute's leeway. Nothing about a job is decided by it: the database's clock does that (I5).

mod jwks;
mod jwt;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use runtime::http::Peer;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{Span, warn};

use crate::args::{Auth, AuthArgs};
use crate::problem::{Kind, Problem};
use crate::rate::Rate;
use crate::state::Api;

pub(crate) use jwks::tls;
pub(crate) use tokens::hash_stdin;

/// Longest name of a caller; `submitted_by` of a job has 500 bytes.
const SUBJECT_BYTES_MAX: usize = 300;
/// Wrong credentials one address may send at once, and per second, before it is told to wait.
const GUESSES_MAX: u32 = 20;
const GUESSES_PER_SECOND: u32 = 1;

/// What a caller may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Look.
    Reader,
    /// Submit, cancel, retry and hide jobs.
    Operator,
    /// Drain, pause, and what concerns everybody.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Reader, Self::Operator, Self::Admin];
        all.into_iter().find(|role| role.as_str() == text)
    }
}

/// Somebody whose credentials were good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) subject: String,
    /// A token may name nobody's role: it opens nothing.
    pub(crate) role: Option<Role>,
}

impl Caller {
    /// As jobs record it: the command line's submitters begin with `cli:`.
    pub(crate) fn submitter(&self) -> String {
        format!("api:{}", self.subject)
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// No credentials.
    Absent,
    /// Not good ones.
    Wrong(&'static str),
    /// They cannot be checked now.
    Unchecked(String),
    /// Without authentication, asked by a name that is not this machine's own.
    Elsewhere,
}

/// Checks credentials.
#[derive(Debug)]
pub(crate) enum Guard {
    Open {
        /// Asked for by other names than this machine's own.
        anywhere: bool,
    },
    Tokens(Arc<tokens::Tokens>),
    Jwt(Box<jwt::Jwt>),
}

impl Guard {
    /// Refuses settings that do not fit together, or that open a network by accident.
    pub(crate) fn new(
        args: &AuthArgs,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<Self, runtime::Error> {
        let missing = |name: &str, kind: &str| {
            runtime::Error::Usage(format!("SNOWPACK_AUTH={kind} needs {name}"))
        };
        match args.auth {
            Auth::None => {
                check_open(args, address)?;
                Ok(Self::Open {
                    anywhere: args.auth_insecure,
                })
            }
            Auth::Tokens => {
                let file = args.tokens_file.as_ref();
                let file = file.ok_or_else(|| missing("SNOWPACK_TOKENS_FILE", "tokens"))?;
                let tokens = Arc::new(tokens::Tokens::open(file)?);
                tokio::spawn(Arc::clone(&tokens).follow(stop.clone()));
                Ok(Self::Tokens(tokens))
            }
            Auth::Jwt => {
                let needed = |value: &Option<String>, name| {
                    let given = value.clone().filter(|text| !text.is_empty());
                    given.ok_or_else(|| missing(name, "jwt"))
                };
                let expected = jwt::Expected {
                    issuer: needed(&args.jwt_issuer, "SNOWPACK_JWT_ISSUER")?,
                    audience: needed(&args.jwt_audience, "SNOWPACK_JWT_AUDIENCE")?,
                    role_claim: args.jwt_role_claim.clone(),
                };
                let url = needed(&args.jwks_url, "SNOWPACK_JWKS_URL")?;
                let keys = jwks::Keys::new(&url, jwks::Times::new(args.jwks_pause()))?;
                Ok(Self::Jwt(Box::new(jwt::Jwt::new(keys, expected))))
            }
        }
    }

    async fn check(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let caller = match self {
            Self::Open { anywhere } if *anywhere || asks_this_machine(headers) => {
                return Ok(Caller {
                    subject: "anonymous".to_owned(),
                    role: Some(Role::Admin),
                });
            }
            Self::Open { .. } => return Err(Refusal::Elsewhere),
            Self::Tokens(tokens) => tokens.check(bearer(headers)?)?,
            Self::Jwt(jwt) => jwt.check(bearer(headers)?).await?,
        };
        let subject = &caller.subject;
        let named = !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX;
        if !named || subject.chars().any(char::is_control) {
            return Err(Refusal::Wrong("its subject cannot be used as a name"));
        }
        Ok(caller)
    }
}

/// `none` is for one machine: elsewhere it must be asked for in so many words.
fn check_open(args: &AuthArgs, address: SocketAddr) -> Result<(), runtime::Error> {
    if !address.ip().is_loopback() && !args.auth_insecure {
        return Err(runtime::Error::Usage(format!(
            "SNOWPACK_AUTH=none lets everybody do everything, and SNOWPACK_API_ADDR={address} is \
             reached by other machines: use tokens or jwt, listen on 127.0.0.1, or say \
             SNOWPACK_AUTH_INSECURE=true"
        )));
    }
    warn!(%address, "no authentication: whoever reaches this address may do everything");
    Ok(())
}

/// Whether the request names this machine as `localhost` or by its address. A web page may give
/// its own name this machine's address, and would speak with the browser's access (DNS rebinding).
fn asks_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        // No browser leaves it out.
        return true;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::Absent);
    };
    if values.next().is_some() {
        return Err(Refusal::Wrong(
            "there is more than one Authorization header",
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| Refusal::Wrong("the Authorization header is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Refusal::Wrong("allowed is `Authorization: Bearer TOKEN`")),
    }
}

/// How often callers may ask, and addresses may guess.
#[derive(Debug)]
pub(crate) struct Rates {
    callers: Rate<String>,
    guesses: Rate<IpAddr>,
}

impl Rates {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            callers: Rate::new(per_second, per_second.saturating_mul(2)),
            guesses: Rate::new(GUESSES_PER_SECOND, GUESSES_MAX),
        }
    }
}

/// Lets known callers in, as often as they may ask.
pub(crate) async fn admit(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let address = address(&request, api.proxies);
    let caller = match api.guard.check(request.headers()).await {
        Ok(caller) => caller,
        // Good credentials are let in from anywhere: behind one proxy all have one address, and
        // whoever sends wrong ones must not lock out the others.
        Err(Refusal::Wrong(why)) => {
            api.rates.guesses.take(&address).map_err(|wait| {
                let detail = "too many wrong credentials came from this address";
                Problem::new(Kind::TooManyRequests, detail).retry_after(whole_seconds(wait))
            })?;
            return Err(refused(Refusal::Wrong(why)));
        }
        Err(refusal) => return Err(refused(refusal)),
    };
    Span::current().record("subject", &caller.subject);
    // Without authentication all have one name, so each address is a caller.
    let name = match &*api.guard {
        Guard::Open { .. } => address.to_string(),
        _ => caller.subject.clone(),
    };
    api.rates.callers.take(&name).map_err(|wait| {
        let detail = "you ask more often than SNOWPACK_RATE_PER_SECOND allows";
        Problem::new(Kind::TooManyRequests, detail).retry_after(whole_seconds(wait))
    })?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn whole_seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs() + 1
}

/// The caller's address: the connection's, or what the outermost of our own proxies saw.
fn address(request: &Request, proxies: usize) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |Peer(address)| address.ip());
    if proxies == 0 {
        return peer;
    }
    let seen = request.headers().get_all("x-forwarded-for").iter();
    let seen: Vec<&str> = seen
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let outermost = seen.len().checked_sub(proxies).and_then(|at| seen.get(at));
    outermost
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(peer)
}

fn refused(refusal: Refusal) -> Problem {
    let (challenge, detail) = match refusal {
        Refusal::Absent => (
            "Bearer realm=\"snowpack\"",
            "send a token: `Authorization: Bearer TOKEN`".to_owned(),
        ),
        Refusal::Wrong(why) => (
            "Bearer realm=\"snowpack\", error=\"invalid_token\"",
            format!("the token is not accepted: {why}"),
        ),
        Refusal::Elsewhere => {
            let detail = "without authentication this answers to localhost or an address only: \
                          the Host header names another";
            return Problem::new(Kind::Forbidden, detail);
        }
        Refusal::Unchecked(cause) => {
            return Problem::unavailable("the identity provider (SNOWPACK_JWKS_URL)", cause);
        }
    };
    Problem::new(Kind::Unauthenticated, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// The caller, if it may do what `needed` may.
fn allowed(parts: &Parts, needed: Role) -> Result<Caller, Problem> {
    let Some(caller) = parts.extensions.get::<Caller>() else {
        return Err(Problem::internal(
            "a route for callers stands before `admit`",
        ));
    };
    if caller.role >= Some(needed) {
        return Ok(caller.clone());
    }
    let has = caller.role.map_or("no role", Role::as_str);
    let needed = needed.as_str();
    let detail = format!("this needs the role {needed}; {} has {has}", caller.subject);
    let challenge = "Bearer realm=\"snowpack\", error=\"insufficient_scope\"";
    Err(Problem::new(Kind::Forbidden, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name(pub(crate) Caller);

            impl<S: Send + Sync> FromRequestParts<S> for $name {
                type Rejection = Problem;

                async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                    allowed(parts, Role::$name).map(Self)
                }
            }
        )+
    };
}

roles! {
    /// The caller of a route that changes a job.
    Operator;
    /// The caller of a route that concerns everybody.
    Admin;
}

/// Somebody who may see what a route shows; who it is does not matter.
#[derive(Debug)]
pub(crate) struct Reader;

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        allowed(parts, Role::Reader).map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, want: bool) {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]);
        assert_eq!(asks_this_machine(&headers), want, "for {host}");
    }

    #[test]
    fn without_authentication_no_web_page_can_ask_under_its_own_name() {
        check("localhost", true);
        check("LocalHost:8080", true);
        check("127.0.0.1:8080", true);
        check("[::1]:8080", true);
        check("evil.example:8080", false);
        check("localhost.evil.example", false);
        check("127.0.0.1.evil.example", false);
        check("", false);
        assert!(asks_this_machine(&HeaderMap::new()));
    }
}
