//! The identity provider's keys: fetched when needed, kept for a while, bounded in every way.
//!
//! Keys are asked for again after [`Times::fresh`], or when a token names a key nobody has seen
//! (rotation), but never more often than every [`Times::pause`]: made-up key ids cost the
//! provider nothing. While it does not answer, the keys known go on for [`Times::stale`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
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
            runtime::Error::Usage(format!(
                "environment variable SNOWPACK_JWKS_URL = `{url}`: {why}"
            ))
        };
        let parsed = reqwest::Url::parse(url).map_err(|error| refused(error.to_string()))?;
        let here = matches!(parsed.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if parsed.scheme() != "https" && !(here && parsed.scheme() == "http") {
            return Err(refused(
                "allowed is https, or http on this machine".to_owned(),
            ));
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
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, NoKey> {
        if let Some(known) = self.known(self.times.fresh)
            && let Some(key) = pick(&known.keys, id, algorithm)
        {
            return Ok(key);
        }
        let error = self.fetch().await;
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
        let answer = self.client.get(self.url.clone()).send().await;
        let mut answer = answer
            .and_then(reqwest::Response::error_for_status)
            .map_err(said)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            text.extend_from_slice(&chunk);
            if BYTES_MAX < text.len() {
                return Err(format!("the answer is larger than {BYTES_MAX} bytes"));
            }
        }
        let set: JwkSet = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let keys: Vec<Key> = set.keys.iter().filter_map(usable).take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err("the answer holds no key that can be used".to_owned());
        }
        Ok(keys)
    }
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

fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
