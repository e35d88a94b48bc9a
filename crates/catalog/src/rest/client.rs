//! Requests to one REST catalog: where they go, who signs them, how often they are tried.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::answer::Config;
use super::auth::Auth;
use super::settings::Settings;
use super::trouble::{Answer, Trouble, answered};

/// Tries of one request.
const TRIES_MAX: u32 = 5;
/// Longest pause before the second try; it doubles from try to try, and each pause is drawn from zero
/// to it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A server that says when to come again is waited for up to this, and no longer.
const ASKED_MAX: Duration = Duration::from_secs(30);
/// Longest configuration, in bytes.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// What separates a namespace's levels in an address, where the server does not say.
const SEPARATOR: &str = "%1F";
/// What of a name is encoded in an address: all but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Asks for keys with the table (REST specification).
const DELEGATION: (&str, &str) = ("X-Iceberg-Access-Delegation", "vended-credentials");

/// One REST catalog.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    uri: Url,
    warehouse: Option<String>,
    auth: Auth,
    config: OnceCell<Config>,
}

/// What is asked, below the server's prefix.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Parts of the path, encoded.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<&'a Value>,
    /// Longest answer, in bytes.
    pub(super) bytes_max: usize,
}

/// What a request that is sent again may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It changes nothing.
    Harmless,
    /// The server knows it again by its key and changes things once.
    Known,
    /// It may change things twice.
    Harmful,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let own = below(&settings.uri, &["v1", "oauth", "tokens"]);
        Ok(Self {
            http: storage::http_client(&settings.uri)?,
            uri: settings.uri,
            warehouse: settings.warehouse,
            auth: Auth::new(settings.credential, own)?,
            config: OnceCell::new(),
        })
    }

    /// What the server says of itself; asked once.
    pub(super) async fn config(&self) -> Result<&Config, Trouble> {
        let ask = || async {
            let mut url = below(&self.uri, &["v1", "config"]);
            if let Some(warehouse) = &self.warehouse {
                url.query_pairs_mut().append_pair("warehouse", warehouse);
            }
            let request = || self.http.get(url.clone());
            let answer = self.steadily(&request, CONFIG_BYTES_MAX, Repeat::Harmless);
            answer.await?.json::<Config>()
        };
        self.config.get_or_try_init(ask).await
    }

    /// A namespace as a part of a path: some servers look for the separator before they decode it.
    pub(super) async fn namespace_in_path(&self, levels: &[String]) -> Result<String, Trouble> {
        let levels: Vec<String> = levels.iter().map(|level| encoded(level)).collect();
        Ok(levels.join(self.separator().await?))
    }

    /// A namespace as a query's value, before that is encoded.
    pub(super) async fn namespace_in_query(&self, levels: &[String]) -> Result<String, Trouble> {
        let separator = percent_decode_str(self.separator().await?);
        Ok(levels.join(&separator.decode_utf8_lossy()))
    }

    /// What separates a namespace's levels, as an address has it.
    async fn separator(&self) -> Result<&str, Trouble> {
        let said = self.config().await?.property("namespace-separator");
        Ok(said.unwrap_or(SEPARATOR))
    }

    /// Asks for what changes nothing: as often as it may help.
    pub(super) async fn read(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let url = self.url(ask).await?;
        let request = || self.request(&url, ask);
        self.steadily(&request, ask.bytes_max, Repeat::Harmless)
            .await
    }

    /// Asks for a change: again only when the server has surely not made it, or when it knows the
    /// request again by its key.
    pub(super) async fn change(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let url = self.url(ask).await?;
        let config = self.config().await?;
        if config.idempotency_key_lifetime.is_none() {
            let request = || self.request(&url, ask);
            return self
                .steadily(&request, ask.bytes_max, Repeat::Harmful)
                .await;
        }
        let key = Uuid::now_v7().to_string();
        let request = || self.request(&url, ask).header("Idempotency-Key", &key);
        self.steadily(&request, ask.bytes_max, Repeat::Known).await
    }

    fn request(&self, url: &Url, ask: &Ask<'_>) -> RequestBuilder {
        let request = self
            .http
            .request(ask.method.clone(), url.clone())
            .header(DELEGATION.0, DELEGATION.1);
        match ask.body {
            Some(body) => request
                .header("Content-Type", "application/json")
                .body(body.to_string()),
            None => request,
        }
    }

    async fn url(&self, ask: &Ask<'_>) -> Result<Url, Trouble> {
        let config = self.config().await?;
        let mut parts = vec!["v1"];
        if let Some(prefix) = config.property("prefix") {
            parts.extend(prefix.split('/').filter(|part| !part.is_empty()));
        }
        parts.extend(ask.path.iter().map(String::as_str));
        let mut url = below(&self.uri, &parts);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        Ok(url)
    }

    /// Sends a request until it is answered well, fails with what will not pass, or was tried often.
    async fn steadily(
        &self,
        request: &(dyn Fn() -> RequestBuilder + Sync),
        bytes_max: usize,
        repeat: Repeat,
    ) -> Result<Answer, Trouble> {
        let (mut tries, mut doubtful) = (0, false);
        loop {
            tries += 1;
            let trouble = match self.signed(request, bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let landed = trouble.may_have_landed();
            let again = trouble.passes() && (repeat != Repeat::Harmful || !landed);
            if !again || tries >= TRIES_MAX {
                // What is refused now may have been done when it was asked before.
                let hidden = repeat == Repeat::Known && doubtful && !landed;
                return Err(if hidden {
                    Trouble::Unanswered(trouble.into())
                } else {
                    trouble
                });
            }
            doubtful |= landed;
            let pause = pause(tries, trouble.retry_after());
            tracing::debug!(tries, %trouble, ?pause, "asking the catalog again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends a request with a token, and once more with a new one when that is not taken.
    async fn signed(
        &self,
        request: &(dyn Fn() -> RequestBuilder + Sync),
        bytes_max: usize,
    ) -> Result<Answer, Trouble> {
        let mut refused = None;
        loop {
            let bearer = self.auth.bearer(refused.as_ref()).await?;
            let asking = match &bearer {
                Some(bearer) => bearer.sign(request()),
                None => request(),
            };
            match answered(asking, bytes_max).await {
                Err(trouble)
                    if trouble.unauthorized() && self.auth.renews() && refused.is_none() =>
                {
                    refused = bearer;
                }
                answer => return answer,
            }
        }
    }
}

/// A name as a part of a path.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// The address of a path below `uri`, of parts that are encoded.
fn below(uri: &Url, parts: &[&str]) -> Url {
    let mut url = uri.clone();
    let above = uri.path().trim_end_matches('/');
    url.set_path(&format!("{above}/{}", parts.join("/")));
    url
}

/// The pause before the next try: what a server asks for is the least.
fn pause(tries: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries - 1));
    let own = doubled.min(PAUSE_MAX).mul_f64(rand::random_range(0.0..1.0));
    asked.unwrap_or_default().min(ASKED_MAX) + own
}
