//! The identity provider's keys: fetched when needed, kept for a while, bounded in every way.
//!
//! Keys are asked for again after [`Times::fresh`], or when a token names a key nobody has seen
//! (rotation), but never more often than every [`Times::pause`]: made-up key ids cost the
//! provider nothing. While it does not answer, the keys known go on for [`Times::stale`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, warn};

/// From the request to the last byte.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 1024 * 1024;
const KEYS_MAX: usize = 100;

/// How long keys are good for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    fresh: Duration,
    stale: Duration,
    pause: Duration,
}

impl Times {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            fresh: Duration::from_mins(10),
            stale: Duration::from_hours(1),
            pause,
        }
    }
}

/// A key, and the algorithms a token signed with it may name.
#[derive(Clone)]
pub(crate) struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    public: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoKey {
    Unknown,
    /// The provider did not answer, and what was known is too old.
    Unreachable(String),
}

#[derive(Debug, Clone)]
struct Known {
    keys: Arc<[Key]>,
    at: Instant,
}

/// The last try, good or not.
#[derive(Debug, Default)]
struct Tried {
    at: Option<Instant>,
    error: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Keys {
    url: reqwest::Url,
    client: reqwest::Client,
    times: Times,
    known: RwLock<Option<Known>>,
    /// Locked while keys are fetched: one at a time.
    tried: Mutex<Tried>,
}

impl Keys {
    /// Refuses a URL that anybody between here and the provider could answer.
    pub(crate) fn new(url: &str, times: Times) -> Result<Self, runtime::Error> {
        let refused = |why: String| {
            // Not quoted: there may be a password in it.
            runtime::Error::Usage(format!("environment variable SNOWPACK_JWKS_URL: {why}"))
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| refused(error.to_string()))?;
        let here = matches!(parsed.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if parsed.scheme() != "https" && !(here && parsed.scheme() == "http") {
            let (scheme, host) = (parsed.scheme(), parsed.host_str().unwrap_or_default());
            return Err(refused(format!(
                "`{scheme}` to `{host}`: allowed is https, or http on this machine"
            )));
        }
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().map_err(refused)?)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(FETCH_WITHIN);
        if here {
            client = client.no_proxy();
        }
        Ok(Self {
            url: parsed,
            client: client.build().map_err(|error| refused(error.to_string()))?,
            times,
            known: RwLock::default(),
            tried: Mutex::default(),
        })
    }

    /// The key a token names (or, if it names none, the only one that fits its algorithm).
    pub(crate) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, NoKey> {
        if let Some(known) = self.known(self.times.fresh)
            && let Some(key) = pick(&known.keys, id, algorithm)
        {
            return Ok(key);
        }
        // In a task of its own: a caller that hangs up must not leave the pause unkept.
        let keys = Arc::clone(self);
        let fetched = tokio::spawn(async move { keys.fetch().await }).await;
        let error = fetched.unwrap_or_else(|error| Some(error.to_string()));
        let Some(known) = self.known(self.times.stale) else {
            let why = error.unwrap_or_else(|| "no keys were read yet".to_owned());
            return Err(NoKey::Unreachable(why));
        };
        pick(&known.keys, id, algorithm).ok_or(NoKey::Unknown)
    }

    /// What is known, unless it is older than `age_max`.
    fn known(&self, age_max: Duration) -> Option<Known> {
        // A list is swapped whole.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.at.elapsed() <= age_max)
    }

    /// Asks the provider, unless somebody did within the pause. Says why the last try failed.
    async fn fetch(&self) -> Option<String> {
        let mut tried = self.tried.lock().await;
        if tried.at.is_some_and(|at| at.elapsed() < self.times.pause) {
            return tried.error.clone();
        }
        let read = self.read().await;
        tried.at = Some(Instant::now());
        match read {
            Ok(keys) => {
                if tried.error.take().is_some() {
                    tracing::info!("the identity provider answers again");
                }
                debug!(keys = keys.len(), "read the identity provider's keys");
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some(Known {
                    keys: keys.into(),
                    at: Instant::now(),
                });
            }
            Err(why) => {
                if tried.error.is_none() {
                    warn!(why, "the identity provider's keys cannot be read");
                }
                tried.error = Some(why);
            }
        }
        tried.error.clone()
    }

    async fn read(&self) -> Result<Vec<Key>, String> {
        let said = |error: reqwest::Error| runtime::chain(&error.without_url());
        let mut answer = self
            .client
            .get(self.url.clone())
            .send()
            .await
            .map_err(said)?;
        if !answer.status().is_success() {
            // A redirect too: the keys are where we were told that they are, or nowhere.
            return Err(format!("it answers {}", answer.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            text.extend_from_slice(&chunk);
            if BYTES_MAX < text.len() {
                return Err(format!("the answer is larger than {BYTES_MAX} bytes"));
            }
        }
        let set: Set = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        // Keys that are not understood are left out, as RFC 7517 has it.
        let keys = set.keys.into_iter();
        let keys = keys.filter_map(|key| usable(&serde_json::from_value(key).ok()?));
        let keys: Vec<Key> = keys.take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err("the answer holds no key that can be used".to_owned());
        }
        Ok(keys)
    }
}

/// A key set, its keys not read yet.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The key, if it is a public one for signatures. A shared secret (`oct`) never is.
fn usable(jwk: &Jwk) -> Option<Key> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let fitting: &'static [Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    let algorithms = match &jwk.common.key_algorithm {
        None => fitting,
        Some(own) => {
            let own = own.to_string();
            let at = fitting.iter().position(|fit| format!("{fit:?}") == own)?;
            &fitting[at..=at]
        }
    };
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms,
        public: DecodingKey::from_jwk(jwk).ok()?,
    })
}

fn pick(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| {
        key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id)
    });
    let first = fitting.next()?;
    let several = id.is_none() && fitting.next().is_some();
    (!several).then(|| first.public.clone())
}

/// Trusts whom this machine trusts, or the certificates in `SSL_CERT_FILE`.
pub(crate) fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Appendix A.1 of RFC 7517.
    fn good() -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": "good",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
    }

    async fn keys(fresh: Duration, stale: Duration, pause: Duration) -> (TcpListener, Arc<Keys>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let times = Times {
            fresh,
            stale,
            pause,
        };
        (listener, Arc::new(Keys::new(&url, times).unwrap()))
    }

    fn ask(keys: &Arc<Keys>, id: &'static str) -> tokio::task::JoinHandle<Result<(), NoKey>> {
        let keys = Arc::clone(keys);
        tokio::spawn(async move { keys.find(Some(id), Algorithm::ES256).await.map(drop) })
    }

    async fn answer(mut stream: TcpStream, status: &str, body: &str) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn a_caller_that_hangs_up_does_not_cost_the_provider_another_request() {
        let (listener, keys) = keys(HOUR, HOUR, HOUR).await;
        let first = ask(&keys, "good");
        let (stream, _) = listener.accept().await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = ask(&keys, "good");
        answer(stream, "200 OK", &json!({"keys": [good()]}).to_string())
            .await
            .unwrap();
        assert_eq!(second.await.unwrap(), Ok(()));
        assert!(listener.accept().now_or_never().is_none(), "asked again");
    }

    #[tokio::test]
    async fn keys_are_stale_after_an_hour_and_then_nobody_is_let_in() {
        let times = Times::new(Duration::ZERO);
        assert_eq!((times.fresh, times.stale), (HOUR / 6, HOUR));
        for (stale, goes_on) in [(HOUR, true), (Duration::ZERO, false)] {
            let (listener, keys) = keys(Duration::ZERO, stale, Duration::ZERO).await;
            let asked = ask(&keys, "good");
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, "200 OK", &json!({"keys": [good()]}).to_string())
                .await
                .unwrap();
            asked.await.unwrap().ok();
            drop(listener);
            let found = ask(&keys, "good").await.unwrap();
            assert_eq!(found.is_ok(), goes_on, "{found:?}");
            assert!(goes_on || matches!(found, Err(NoKey::Unreachable(_))));
        }
    }

    #[tokio::test]
    async fn keys_that_are_not_understood_are_left_out_and_the_others_hold() {
        let mut private = good();
        private["use"] = "enc".into();
        private["kid"] = "private".into();
        let odd = json!({"keys": [null, "x", {}, {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44"},
            {"kty": "EC", "crv": "P-256", "kid": 5}, {"kty": "oct", "kid": "shared", "k": "AAAA"},
            {"kty": "EC", "crv": "P-256", "kid": "bad", "x": "!", "y": ""}, private, good()]});
        let (listener, keys) = keys(HOUR, HOUR, HOUR).await;
        let asked = ask(&keys, "good");
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, "200 OK", &odd.to_string()).await.unwrap();
        assert_eq!(asked.await.unwrap(), Ok(()));
        for id in ["private", "shared", "new", "bad", ""] {
            assert_eq!(ask(&keys, id).await.unwrap(), Err(NoKey::Unknown), "{id}");
        }
    }

    #[tokio::test]
    async fn a_provider_that_sends_elsewhere_or_too_much_is_not_followed() {
        let large = json!({"keys": [good()], "more": "x".repeat(BYTES_MAX)}).to_string();
        let here = json!({"keys": [good()]}).to_string();
        for (status, body) in [
            ("302 Found\r\nlocation: /keys", here.as_str()),
            ("200 OK", large.as_str()),
            ("200 OK", "[]"),
            ("200 OK", r#"{"keys": []}"#),
            ("404 Not Found", here.as_str()),
        ] {
            let (listener, keys) = keys(HOUR, HOUR, HOUR).await;
            let asked = ask(&keys, "good");
            let (stream, _) = listener.accept().await.unwrap();
            // What is too much is not read to its end.
            let (found, _) = tokio::join!(asked, answer(stream, status, body));
            let found = found.unwrap();
            assert!(
                matches!(found, Err(NoKey::Unreachable(_))),
                "{status}: {found:?}"
            );
            assert!(listener.accept().now_or_never().is_none(), "asked again");
        }
    }

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        let open = |url: &str| Keys::new(url, Times::new(Duration::ZERO));
        for url in [
            "https://id.example/keys",
            "http://127.0.0.1:1/",
            "http://localhost/keys",
            "http://[::1]:8/keys",
        ] {
            assert!(open(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "keys",
            "http://id.example/keys",
            "http://127.0.0.1.id.example/",
            "http://localhost.id.example/",
            "http://127.0.0.1@id.example/",
            "http://me:hunter2@id.example/",
            "http://0.0.0.0/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
        ] {
            let error = open(url).unwrap_err().to_string();
            assert!(error.contains("SNOWPACK_JWKS_URL"), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
