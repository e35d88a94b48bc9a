//! What is said about a REST catalog: where it is, and who asks.

use reqwest::Url;

use crate::{Args, Error};

/// Asked for when nobody says which scope, as Java's client does.
const SCOPE_DEFAULT: &str = "catalog";

/// Where a REST catalog is, and who asks.
#[derive(Debug)]
pub(super) struct Settings {
    /// Ends without a slash and without `v1`.
    pub(super) uri: Url,
    /// What the server calls the catalog, where it has several.
    pub(super) warehouse: Option<String>,
    pub(super) credential: Credential,
}

/// Who asks.
pub(super) enum Credential {
    Nobody,
    /// Whoever the token says.
    Token(String),
    Client(OAuth2),
}

/// OAuth2 client credentials (RFC 6749, section 4.4).
pub(super) struct OAuth2 {
    /// Where tokens are given out; the catalog's own `v1/oauth/tokens` when not said.
    pub(super) uri: Option<Url>,
    pub(super) id: Option<String>,
    pub(super) secret: String,
    pub(super) scope: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret.
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Token(_) => "Token",
            Self::Client(_) => "Client",
        })
    }
}

impl Settings {
    /// Refuses what is wrong or said twice, naming the variable. Empty counts as unset.
    pub(super) fn parse(args: &Args) -> Result<Self, Error> {
        let Some(uri) = set(args.catalog_uri.as_ref()) else {
            return Err(Error::Unsupported(
                "a REST catalog needs SNOWPACK_CATALOG_URI, as in https://catalog.example/api"
                    .to_owned(),
            ));
        };
        let settings = Self {
            uri: url("SNOWPACK_CATALOG_URI", uri)?,
            warehouse: set(args.catalog_warehouse.as_ref()).map(str::to_owned),
            credential: credential(args)?,
        };
        if let Some(name) = settings.in_the_open() {
            tracing::warn!(
                "a token or secret goes to {name} by http://, where whoever is between reads it; use https://"
            );
        }
        Ok(settings)
    }

    /// The address to which a token or a secret goes unencrypted, by the name of its variable.
    fn in_the_open(&self) -> Option<&'static str> {
        let open = |uri: &Url| uri.scheme() == "http" && !storage::on_this_host(uri);
        match &self.credential {
            Credential::Nobody => None,
            Credential::Client(client) if client.uri.as_ref().is_some_and(open) => {
                Some("SNOWPACK_CATALOG_OAUTH2_URI")
            }
            Credential::Client(_) | Credential::Token(_) => {
                open(&self.uri).then_some("SNOWPACK_CATALOG_URI")
            }
        }
    }
}

fn set(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// An address of http or https; nothing before its host, nothing behind its path.
fn url(name: &str, text: &str) -> Result<Url, Error> {
    let parsed = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(mut parsed) = parsed else {
        // What stands before an @ may be a password.
        let shown = if text.contains('@') { "(hidden)" } else { text };
        return Err(Error::Unsupported(format!(
            "{name} = `{shown}`: allowed: http:// or https://, a host, and a port and a path if need be, as in \
             https://catalog.example/api"
        )));
    };
    let path = parsed.path().trim_end_matches('/').to_owned();
    parsed.set_path(path.strip_suffix("/v1").unwrap_or(&path));
    Ok(parsed)
}

fn credential(args: &Args) -> Result<Credential, Error> {
    let token = set(args.catalog_token.as_ref());
    let credential = set(args.catalog_credential.as_ref());
    let scope = set(args.catalog_scope.as_ref());
    let uri = set(args.catalog_oauth2_uri.as_ref());
    let uri = uri.map(|uri| url("SNOWPACK_CATALOG_OAUTH2_URI", uri));
    let uri = uri.transpose()?;
    let alone = match (&uri, scope) {
        (Some(_), _) => Some("SNOWPACK_CATALOG_OAUTH2_URI"),
        (None, Some(_)) => Some("SNOWPACK_CATALOG_SCOPE"),
        (None, None) => None,
    };
    match (token, credential) {
        (Some(_), Some(_)) => Err(Error::Unsupported(
            "SNOWPACK_CATALOG_TOKEN and SNOWPACK_CATALOG_CREDENTIAL are both set; set the one that \
             is meant"
                .to_owned(),
        )),
        (None, Some(text)) => {
            let (id, secret) = match text.split_once(':') {
                Some((id, secret)) => (Some(id.to_owned()), secret),
                None => (None, text),
            };
            Ok(Credential::Client(OAuth2 {
                uri,
                id,
                secret: secret.to_owned(),
                scope: scope.unwrap_or(SCOPE_DEFAULT).to_owned(),
            }))
        }
        (token, None) => match (alone, token) {
            (Some(name), _) => Err(Error::Unsupported(format!(
                "{name} is set and SNOWPACK_CATALOG_CREDENTIAL is not; set both or neither"
            ))),
            (None, Some(token)) => Ok(Credential::Token(token.to_owned())),
            (None, None) => Ok(Credential::Nobody),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(change: impl FnOnce(&mut Args)) -> Args {
        let mut args = Args::sql("lake");
        args.catalog_uri = Some("https://catalog.example/api".to_owned());
        change(&mut args);
        args
    }

    fn parsed(change: impl FnOnce(&mut Args)) -> Settings {
        Settings::parse(&args(change)).unwrap()
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Args), words: &[&str]) {
        let text = Settings::parse(&args(change)).unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_wrong_address_is_named_with_its_variable_and_what_is_allowed() {
        for wrong in [
            "catalog:8181",
            "postgres://catalog",
            "https://",
            "https://c/?x=1",
        ] {
            refused(
                |args| args.catalog_uri = Some(wrong.to_owned()),
                &["SNOWPACK_CATALOG_URI", wrong, "https://catalog.example/api"],
            );
            refused(
                |args| {
                    args.catalog_credential = Some("hunter2".to_owned());
                    args.catalog_oauth2_uri = Some(wrong.to_owned());
                },
                &["SNOWPACK_CATALOG_OAUTH2_URI", wrong],
            );
        }
        refused(
            |args| args.catalog_uri = Some("https://me:hunter2@catalog".to_owned()),
            &["SNOWPACK_CATALOG_URI", "(hidden)"],
        );
        refused(|args| args.catalog_uri = None, &["SNOWPACK_CATALOG_URI"]);
    }

    #[test]
    fn two_ways_to_say_who_asks_and_half_of_one_are_refused() {
        refused(
            |args| {
                args.catalog_token = Some("hunter2".to_owned());
                args.catalog_credential = Some("me:hunter2".to_owned());
            },
            &["SNOWPACK_CATALOG_TOKEN", "SNOWPACK_CATALOG_CREDENTIAL"],
        );
        let uri = Some("https://login.example/token".to_owned());
        refused(
            |args| args.catalog_oauth2_uri = uri,
            &["SNOWPACK_CATALOG_OAUTH2_URI", "SNOWPACK_CATALOG_CREDENTIAL"],
        );
        refused(
            |args| args.catalog_scope = Some("all".to_owned()),
            &["SNOWPACK_CATALOG_SCOPE", "SNOWPACK_CATALOG_CREDENTIAL"],
        );
    }

    #[test]
    fn an_address_may_end_in_a_slash_or_in_v1() {
        for end in ["", "/", "/v1", "/v1/"] {
            let uri = format!("https://catalog.example/api{end}");
            let settings = parsed(|args| args.catalog_uri = Some(uri));
            assert_eq!(settings.uri.as_str(), "https://catalog.example/api");
        }
    }

    #[test]
    fn empty_counts_as_unset() {
        let settings = parsed(|args| {
            args.catalog_warehouse = Some(String::new());
            args.catalog_token = Some(String::new());
            args.catalog_credential = Some(String::new());
            args.catalog_oauth2_uri = Some(String::new());
            args.catalog_scope = Some(String::new());
        });
        assert_eq!(settings.warehouse, None);
        assert!(matches!(settings.credential, Credential::Nobody));
    }

    #[test]
    fn a_credential_is_an_id_and_a_secret_or_a_secret_alone() {
        for (text, id, secret) in [
            ("me:hunter2", Some("me"), "hunter2"),
            ("me:hunter2:3", Some("me"), "hunter2:3"),
            ("hunter2", None, "hunter2"),
        ] {
            let settings = parsed(|args| args.catalog_credential = Some(text.to_owned()));
            assert!(!format!("{settings:?}").contains("hunter2"));
            let Credential::Client(client) = settings.credential else {
                panic!("{text}");
            };
            assert_eq!((client.id.as_deref(), client.secret.as_str()), (id, secret));
            assert_eq!(client.scope, "catalog");
        }
    }
}
