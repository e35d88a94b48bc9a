//! JSON Web Tokens against an identity provider that rotates its keys, lies, and goes away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use runtime::http;
use serde_json::{Value, json};
use testkit::{Database, until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::server::{Answer, Server, cache, send};

const FIRST: &[u8] = include_bytes!("keys/first.der");
const SECOND: &[u8] = include_bytes!("keys/second.der");
const RSA: &[u8] = include_bytes!("keys/rsa.der");

/// Serves a key set; ends when dropped.
struct Provider {
    address: SocketAddr,
    /// `None`: it answers 503.
    keys: Arc<Mutex<Option<Value>>>,
    asked: Arc<Mutex<usize>>,
    _stop: DropGuard,
}

impl Provider {
    async fn start(keys: &[(&str, &EncodingKey, Algorithm)]) -> Self {
        let listener = http::bind("127.0.0.1:0".parse().unwrap(), "test")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (public, asked) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
        let (keys_of, count) = (Arc::clone(&public), Arc::clone(&asked));
        let answer = move |_: http::Ask| {
            *count.lock().unwrap() += 1;
            let keys: Option<Value> = keys_of.lock().unwrap().clone();
            async move {
                match keys {
                    Some(keys) => http::text(hyper::StatusCode::OK, keys.to_string()),
                    None => http::text(hyper::StatusCode::SERVICE_UNAVAILABLE, "down"),
                }
            }
        };
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, answer, stop.clone()));
        let provider = Self {
            address,
            keys: public,
            asked,
            _stop: stop.drop_guard(),
        };
        provider.serve(keys);
        provider
    }

    fn serve(&self, keys: &[(&str, &EncodingKey, Algorithm)]) {
        let public = |(id, key, algorithm): &(&str, &EncodingKey, Algorithm)| {
            let mut jwk = Jwk::from_encoding_key(key, *algorithm).unwrap();
            jwk.common.key_id = Some((*id).to_owned());
            serde_json::to_value(jwk).unwrap()
        };
        let keys: Vec<Value> = keys.iter().map(public).collect();
        *self.keys.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    async fn server(&self, database: &Database) -> Server {
        let url = format!("http://{}/keys", self.address);
        let own = [
            ("SNOWPACK_AUTH", "jwt"),
            ("SNOWPACK_JWKS_URL", url.as_str()),
            ("SNOWPACK_JWT_ISSUER", "https://id.example"),
            ("SNOWPACK_JWT_AUDIENCE", "snowpack"),
            ("SNOWPACK_JWT_ROLE_CLAIM", "access.roles"),
            ("SNOWPACK_JWKS_PAUSE_SECONDS", "1"),
            ("SNOWPACK_API_PROXIES", "1"),
        ];
        Server::with(database.url(), &own).await
    }
}

fn first() -> EncodingKey {
    EncodingKey::from_ec_der(FIRST)
}

fn second() -> EncodingKey {
    EncodingKey::from_ec_der(SECOND)
}

/// Good claims of alice, an operator, changed by `change`.
fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "sub": "alice", "iss": "https://id.example", "aud": ["other", "snowpack"],
        "exp": jsonwebtoken::get_current_timestamp() + 600,
        "access": {"roles": ["offline", "operator"]},
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn signed(key: &EncodingKey, algorithm: Algorithm, id: &str, change: &Value) -> String {
    let header = Header {
        kid: Some(id.to_owned()),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &claims(change), key).unwrap()
}

/// Each from another address: these tests are not about guessing.
async fn ask(server: &Server, token: &str) -> Answer {
    static FROM: AtomicU32 = AtomicU32::new(0);
    let from = Ipv4Addr::from(FROM.fetch_add(1, Ordering::Relaxed));
    let request = server.request("GET", "/jobs");
    let request = request.header("x-forwarded-for", from.to_string());
    send(request.bearer_auth(token)).await
}

#[tokio::test]
async fn a_signed_token_for_us_in_its_time_is_let_in_with_its_role() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let rsa = EncodingKey::from_rsa_der(RSA);
    let (ec, es, rs) = (first(), Algorithm::ES256, Algorithm::RS256);
    let provider = Provider::start(&[("ec", &ec, es), ("rsa", &rsa, rs)]).await;
    let server = provider.server(&database).await;
    let none = json!({});
    for token in [signed(&ec, es, "ec", &none), signed(&rsa, rs, "rsa", &none)] {
        assert_eq!(ask(&server, &token).await.status, 200);
        let drain = server.request("PUT", "/drain").bearer_auth(&token);
        let drain = drain.header("content-type", "application/json");
        let refused = send(drain.body(r#"{"drained": true}"#)).await;
        let body = refused.problem(403, "forbidden");
        assert!(
            body["detail"].as_str().unwrap().contains("role admin"),
            "{body}"
        );
    }
    let submit = server.request("POST", "/tables/db/events/maintenance");
    let submit = submit.bearer_auth(signed(&ec, es, "ec", &none));
    let submit = submit.header("content-type", "application/json");
    let job = send(submit.body(r#"{"actions": ["purge_pending"]}"#)).await;
    assert_eq!(job.json()["submitted_by"], "api:alice", "{}", job.text);
    let nobody = signed(&ec, es, "ec", &json!({"access": {"roles": ["root"]}}));
    ask(&server, &nobody).await.problem(403, "forbidden");
    assert_eq!(provider.asked(), 1, "the keys are kept");
    server.stop(&[]).await;
}

#[tokio::test]
async fn a_token_that_is_not_all_it_must_be_is_refused() {
    let database = Database::new().await;
    let (ec, es) = (first(), Algorithm::ES256);
    let provider = Provider::start(&[("ec", &ec, es)]).await;
    let server = provider.server(&database).await;
    let now = jsonwebtoken::get_current_timestamp();
    for (change, said) in [
        (json!({"exp": now - 3_600}), "expired"),
        (json!({"exp": null}), "missing"),
        (json!({"exp": "soon"}), ""),
        (json!({"nbf": now + 3_600}), "not valid yet"),
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": null}), "missing"),
        (json!({"iss": "https://evil.example"}), "another issuer"),
        (json!({"iss": null}), "missing"),
        (json!({"sub": null}), "missing"),
        (json!({"sub": ""}), "cannot be used as a name"),
        (json!({"sub": "a\nb"}), "cannot be used as a name"),
        (json!({"sub": "x".repeat(301)}), "cannot be used as a name"),
    ] {
        let answer = ask(&server, &signed(&ec, es, "ec", &change)).await;
        let body = answer.problem(401, "unauthenticated");
        assert!(
            body["detail"].as_str().unwrap().contains(said),
            "{change}: {body}"
        );
    }
    server.stop(&[]).await;
}

#[tokio::test]
async fn a_signature_that_is_none_or_made_with_what_is_public_is_refused() {
    let database = Database::new().await;
    let rsa = EncodingKey::from_rsa_der(RSA);
    let (ec, es, rs) = (first(), Algorithm::ES256, Algorithm::RS256);
    let provider = Provider::start(&[("ec", &ec, es), ("rsa", &rsa, rs)]).await;
    let server = provider.server(&database).await;
    let good = signed(&rsa, rs, "rsa", &json!({"access": {"roles": ["admin"]}}));
    assert_eq!(ask(&server, &good).await.status, 200);
    let payload = good.split('.').nth(1).unwrap();
    let signature = good.split('.').nth(2).unwrap();
    let public = provider.keys.lock().unwrap().clone().unwrap();
    let modulus = public["keys"][1]["n"].as_str().unwrap().to_owned();
    let hs = |secret: &[u8], id: &str| {
        signed(
            &EncodingKey::from_secret(secret),
            Algorithm::HS256,
            id,
            &json!({}),
        )
    };
    for forged in [
        // {"alg":"none"} and {"alg":"none","kid":"rsa"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJub25lIn0.{payload}.{signature}"),
        format!("eyJhbGciOiJub25lIiwia2lkIjoicnNhIn0.{payload}."),
        hs(modulus.as_bytes(), "rsa"),
        hs(b"", "rsa"),
        hs(public.to_string().as_bytes(), "ec"),
        // Another key under a known name, and the right key under that of another kind.
        signed(&second(), es, "ec", &json!({})),
        signed(&ec, es, "rsa", &json!({})),
        signed(&rsa, rs, "ec", &json!({})),
        // A signature of other words.
        format!("{}x.{payload}.{signature}", good.split('.').next().unwrap()),
        format!(
            "{}.{}.{signature}",
            good.split('.').next().unwrap(),
            payload.replace('e', "f")
        ),
        good[..good.len() - 4].to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "x".repeat(20_000),
    ] {
        let answer = ask(&server, &forged).await;
        assert_eq!(answer.status, 401, "{forged}: {}", answer.text);
        answer.problem(401, "unauthenticated");
    }
    server.stop(&[]).await;
}

#[tokio::test]
async fn keys_are_rotated_and_a_provider_that_is_away_does_not_lock_out_whom_it_signed_for() {
    let database = Database::new().await;
    let (old, new, es) = (first(), second(), Algorithm::ES256);
    let provider = Provider::start(&[("old", &old, es)]).await;
    let server = provider.server(&database).await;
    let (of_old, of_new) = (
        signed(&old, es, "old", &json!({})),
        signed(&new, es, "new", &json!({})),
    );
    assert_eq!(ask(&server, &of_old).await.status, 200);
    provider.serve(&[("old", &old, es), ("new", &new, es)]);
    until("the new key is known", async || {
        ask(&server, &of_new).await.status == 200
    })
    .await;
    assert_eq!(ask(&server, &of_old).await.status, 200);
    // Away, it is asked for a key nobody knows, and those that are known go on.
    *provider.keys.lock().unwrap() = None;
    let unknown = signed(&first(), es, "unknown", &json!({}));
    let before = provider.asked();
    until("it was asked in vain", async || {
        ask(&server, &unknown).await;
        provider.asked() > before
    })
    .await;
    assert_eq!(ask(&server, &of_old).await.status, 200);
    assert_eq!(ask(&server, &of_new).await.status, 200);
    // A key that is withdrawn signs for nobody once the set is read again.
    provider.serve(&[("new", &new, es)]);
    until("the old key is forgotten", async || {
        ask(&server, &unknown).await;
        ask(&server, &of_old).await.status != 200
    })
    .await;
    assert_eq!(ask(&server, &of_new).await.status, 200);
    server
        .stop(&["identity provider's keys cannot be read"])
        .await;
}

#[tokio::test]
async fn made_up_key_ids_do_not_become_requests_to_the_provider() {
    let database = Database::new().await;
    let (ec, es) = (first(), Algorithm::ES256);
    let provider = Provider::start(&[("ec", &ec, es)]).await;
    let server = provider.server(&database).await;
    let started = std::time::Instant::now();
    for id in 0..15 {
        let answer = ask(
            &server,
            &signed(&ec, es, &format!("made-up-{id}"), &json!({})),
        )
        .await;
        answer.problem(401, "unauthenticated");
    }
    // One at once, and one more for each second that went by.
    let most = 1 + started.elapsed().as_secs() as usize;
    assert!(
        provider.asked() <= most + 1,
        "{} of {most}",
        provider.asked()
    );
    server.stop(&[]).await;
}

#[tokio::test]
async fn without_any_keys_nobody_can_be_checked() {
    let database = Database::new().await;
    let (ec, es) = (first(), Algorithm::ES256);
    let provider = Provider::start(&[]).await;
    *provider.keys.lock().unwrap() = None;
    let server = provider.server(&database).await;
    let token = signed(&ec, es, "ec", &json!({}));
    let body = ask(&server, &token).await.problem(503, "unavailable");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("SNOWPACK_JWKS_URL"),
        "{body}"
    );
    provider.serve(&[("ec", &ec, es)]);
    until("it is let in", async || {
        ask(&server, &token).await.status == 200
    })
    .await;
    server
        .stop(&["identity provider's keys cannot be read", "request failed"])
        .await;
}
