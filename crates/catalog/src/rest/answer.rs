//! What a REST catalog answers, as far as it is used (Iceberg's REST specification).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Of `GET /v1/config`.
#[derive(Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) defaults: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) overrides: BTreeMap<String, String>,
    /// Set by servers that know the header `Idempotency-Key`: how long they remember one.
    #[serde(default, rename = "idempotency-key-lifetime")]
    pub(super) idempotency_key_lifetime: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A server may give out tokens and keys here.
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

impl Config {
    /// What the server says of a property: its override before its default.
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        let found = self.overrides.get(key).or_else(|| self.defaults.get(key));
        found.map(String::as_str)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Namespaces {
    #[serde(default)]
    pub(super) namespaces: Vec<Vec<String>>,
    #[serde(default, rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Namespace {
    /// `null` where the server keeps none.
    #[serde(default)]
    pub(super) properties: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tables {
    #[serde(default)]
    pub(super) identifiers: Vec<Identifier>,
    #[serde(default, rename = "next-page-token")]
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Identifier {
    pub(super) name: String,
}

/// Of a load, a creation or a commit.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Loaded {
    /// `None` of a table that was staged only.
    pub(super) metadata_location: Option<String>,
    /// As it was sent: the document is kept whole.
    pub(super) metadata: Box<RawValue>,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) storage_credentials: Vec<StorageCredential>,
}

/// Keys for what lies below a prefix.
#[derive(Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
}

impl std::fmt::Debug for StorageCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the keys.
        f.debug_struct("StorageCredential")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the keys.
        f.debug_struct("Loaded")
            .field("metadata_location", &self.metadata_location)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// What says how the table's files are reached: of the credentials, those with the longest prefix
    /// that holds `location`, above the answer's own.
    pub(super) fn access(&self, location: &str) -> BTreeMap<String, String> {
        let mut access = self.config.clone();
        let fitting = self.storage_credentials.iter();
        let fitting = fitting.filter(|credential| location.starts_with(&credential.prefix));
        if let Some(nearest) = fitting.max_by_key(|credential| credential.prefix.len()) {
            access.extend(nearest.config.clone());
        }
        access
    }
}

/// Of a refusal.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refusal {
    error: Option<Told>,
    /// Of a token server.
    error_description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    /// Of a catalog.
    Model {
        message: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    },
    /// Of a token server (RFC 6749, section 5.2).
    Word(String),
}

impl Refusal {
    /// What kind of refusal it is, and the message with it.
    pub(super) fn words(self) -> (Option<String>, Option<String>) {
        match self.error {
            Some(Told::Model { message, kind }) => (kind, message),
            Some(Told::Word(word)) => (Some(word), self.error_description),
            None => (None, None),
        }
    }
}

/// Of a token server (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) access_token: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, want: &str) {
        let text = r#"{"metadata-location": "m", "metadata": {},
            "config": {"k": "own", "other": "own"},
            "storage-credentials": [
                {"prefix": "s3://lake/", "config": {"k": "lake"}},
                {"prefix": "s3://lake/db/t", "config": {"k": "table"}},
                {"prefix": "s3://lake/db", "config": {"k": "database"}}]}"#;
        let loaded: Loaded = serde_json::from_str(text).unwrap();
        let access = loaded.access(location);
        assert_eq!(access["k"], want, "{location}");
        assert_eq!(access["other"], "own");
    }

    #[test]
    fn of_the_keys_for_a_location_those_of_the_longest_prefix_count() {
        check("s3://lake/db/t", "table");
        check("s3://lake/db/u", "database");
        check("s3://lake/else", "lake");
        check("s3://other/db/t", "own");
    }

    #[test]
    fn a_refusal_is_understood_in_a_catalogs_and_in_a_token_servers_words() {
        for (text, kind, message) in [
            (
                r#"{"error": {"message": "no", "type": "T", "code": 404}}"#,
                Some("T"),
                Some("no"),
            ),
            (
                r#"{"error": "invalid_client", "error_description": "no"}"#,
                Some("invalid_client"),
                Some("no"),
            ),
            (r#"{"error": null}"#, None, None),
            ("{}", None, None),
        ] {
            let refusal: Refusal = serde_json::from_str(text).unwrap();
            let (found, said) = refusal.words();
            assert_eq!(
                (found.as_deref(), said.as_deref()),
                (kind, message),
                "{text}"
            );
        }
    }
}
