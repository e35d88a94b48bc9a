//! JSON Web Tokens: signed by a known public key, for us, by the issuer we trust, in their time.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::jwks::{Keys, NoKey};
use super::{Caller, Refusal, Role};

/// Signatures by public keys only: with `none` or a shared secret anybody could sign who knows
/// what everybody may know.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// For clocks that differ.
const LEEWAY_SECONDS: u64 = 60;
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a token must say.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) role_claim: String,
}

#[derive(Debug)]
pub(crate) struct Jwt {
    keys: Arc<Keys>,
    expected: Expected,
}

impl Jwt {
    pub(crate) fn new(keys: Keys, expected: Expected) -> Self {
        let keys = Arc::new(keys);
        Self { keys, expected }
    }

    pub(super) async fn check(&self, token: &str) -> Result<Caller, Refusal> {
        if TOKEN_BYTES_MAX < token.len() {
            return Err(Refusal::Wrong("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| Refusal::Wrong("it is no JWT, or of an algorithm that is not allowed"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Wrong("its algorithm is not allowed"));
        }
        let key = self.keys.find(header.kid.as_deref(), header.alg).await;
        let key = key.map_err(|no| match no {
            NoKey::Unknown => Refusal::Wrong("it is signed with an unknown key"),
            NoKey::Unreachable(why) => Refusal::Unchecked(why),
        })?;
        let claims =
            jsonwebtoken::decode::<Map<String, Value>>(token, &key, &self.validation(header.alg))
                .map_err(|error| Refusal::Wrong(why(error.kind())))?
                .claims;
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(Caller {
            subject: subject.to_owned(),
            role: role(&claims, &self.expected.role_claim),
        })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.expected.audience]);
        validation.set_issuer(&[&self.expected.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation
    }
}

fn why(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidSignature => "its signature does not fit",
        ErrorKind::MissingRequiredClaim(_) => "exp, aud, iss or sub is missing",
        _ => "it is damaged",
    }
}

/// The highest role the claim holds: one name, or a list with other names beside it.
fn role(claims: &Map<String, Value>, path: &str) -> Option<Role> {
    let whole = claims.get(path);
    let value = whole.or_else(|| {
        let mut levels = path.split('.');
        let first = claims.get(levels.next()?)?;
        levels.try_fold(first, |value, level| value.get(level))
    })?;
    match value {
        Value::String(name) => Role::parse(name),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            names.filter_map(Role::parse).max()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(claims: &Value, path: &str, want: Option<Role>) {
        let map = claims.as_object().unwrap();
        assert_eq!(role(map, path), want, "for {path} in {claims}");
    }

    #[test]
    fn a_role_is_found_where_the_provider_puts_it() {
        check(&json!({"r": "admin"}), "r", Some(Role::Admin));
        check(
            &json!({"r": ["x", "reader", "operator"]}),
            "r",
            Some(Role::Operator),
        );
        check(
            &json!({"realm_access": {"roles": ["reader"]}}),
            "realm_access.roles",
            Some(Role::Reader),
        );
        check(
            &json!({"https://x.io/r": "reader"}),
            "https://x.io/r",
            Some(Role::Reader),
        );
    }

    #[test]
    fn what_is_no_role_gives_none() {
        for claims in [
            json!({}),
            json!({"r": "Admin"}),
            json!({"r": "administrator"}),
            json!({"r": {"admin": true}}),
            json!({"r": 1}),
            json!({"r": []}),
            json!({"r": [["admin"]]}),
            json!({"r": "reader admin"}),
        ] {
            check(&claims, "r", None);
        }
        check(&json!({"r": "admin"}), "r.x", None);
        check(&json!({"r": "admin"}), "", None);
    }
}
