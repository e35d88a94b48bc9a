//! How S3 is reached: read from the arguments once, into a shape that cannot be wrong.

use std::time::Duration;

use reqwest::Url;

use crate::retry::Retry;
use crate::{Args, Error};

/// Bounds of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    /// Longest wait for an answer to begin or to go on.
    pub(crate) idle_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) retry: Retry,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_mins(5),
            retry: Retry {
                tries_max: 7,
                first_pause: Duration::from_millis(100),
                pause_max: Duration::from_secs(5),
            },
        }
    }
}

#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) endpoint: Option<Url>,
    pub(crate) region: Option<String>,
    /// `None`: whatever the surroundings offer.
    pub(crate) keys: Option<Keys>,
    pub(crate) path_style: Option<bool>,
    pub(crate) limits: Limits,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint.as_ref().map(Url::as_str))
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Refuses what is wrong or half set, naming the variable. Empty counts as unset.
    pub(crate) fn parse(args: &Args) -> Result<Self, Error> {
        let endpoint = set(args.s3_endpoint.as_ref()).map(endpoint).transpose()?;
        Ok(Self {
            endpoint,
            region: set(args.s3_region.as_ref()).map(region).transpose()?,
            keys: keys(args)?,
            path_style: set(args.s3_path_style.as_ref())
                .map(path_style)
                .transpose()?,
            limits: Limits::default(),
        })
    }

    pub(crate) fn on_this_host(&self) -> bool {
        self.endpoint.as_ref().is_some_and(on_this_host)
    }
}

/// Whether the address is one of this machine, reached by no network.
pub fn on_this_host(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost"
            || host.ends_with(".localhost")
            || address.is_ok_and(|address| address.is_loopback())
    })
}

fn set(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

fn endpoint(text: &str) -> Result<Url, Error> {
    let wrong = |value: &str| Error::BadSetting {
        name: "SNOWPACK_S3_ENDPOINT",
        value: value.to_owned(),
        allowed: "http:// or https://, a host, and a port if need be, as in https://minio.example:9000",
    };
    let url = Url::parse(text).ok();
    let plain = url.filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    // What stands before an @ may be a password.
    let shown = if text.contains('@') { "(hidden)" } else { text };
    plain.ok_or_else(|| wrong(shown))
}

fn region(text: &str) -> Result<String, Error> {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.chars().all(letters) {
        return Ok(text.to_owned());
    }
    Err(Error::BadSetting {
        name: "SNOWPACK_S3_REGION",
        value: text.to_owned(),
        allowed: "a region's name, as in eu-central-1",
    })
}

fn path_style(text: &str) -> Result<bool, Error> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::BadSetting {
            name: "SNOWPACK_S3_PATH_STYLE",
            value: text.to_owned(),
            allowed: "true (https://host/bucket/key), false (https://bucket.host/key)",
        }),
    }
}

fn keys(args: &Args) -> Result<Option<Keys>, Error> {
    const ID: &str = "SNOWPACK_S3_ACCESS_KEY_ID";
    const SECRET: &str = "SNOWPACK_S3_SECRET_ACCESS_KEY";
    const TOKEN: &str = "SNOWPACK_S3_SESSION_TOKEN";
    let id = set(args.s3_access_key_id.as_ref());
    let secret = set(args.s3_secret_access_key.as_ref());
    let session_token = set(args.s3_session_token.as_ref()).map(str::to_owned);
    let (name, missing) = match (id, secret, &session_token) {
        (Some(id), Some(secret), _) => {
            return Ok(Some(Keys {
                id: id.to_owned(),
                secret: secret.to_owned(),
                session_token,
            }));
        }
        (None, None, None) => return Ok(None),
        (Some(_), None, _) => (ID, SECRET),
        (None, Some(_), _) => (SECRET, ID),
        (None, None, Some(_)) => (TOKEN, ID),
    };
    Err(Error::HalfSet { name, missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(change: impl FnOnce(&mut Args)) -> Args {
        let mut args = Args::default();
        change(&mut args);
        args
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
    fn a_wrong_value_is_named_with_its_variable_and_what_is_allowed() {
        for wrong in [
            "minio:9000",
            "ftp://minio",
            "http://",
            "https://minio/bucket",
            "https://minio?x=1",
        ] {
            refused(
                |args| args.s3_endpoint = Some(wrong.into()),
                &["SNOWPACK_S3_ENDPOINT", wrong, "https://minio.example:9000"],
            );
        }
        refused(
            |args| args.s3_endpoint = Some("https://user:hunter2@minio".into()),
            &["SNOWPACK_S3_ENDPOINT", "(hidden)"],
        );
        refused(
            |args| args.s3_path_style = Some("yes".into()),
            &["SNOWPACK_S3_PATH_STYLE", "`yes`", "true", "false"],
        );
        refused(
            |args| args.s3_region = Some("eu central".into()),
            &["SNOWPACK_S3_REGION", "`eu central`", "eu-central-1"],
        );
    }

    #[test]
    fn half_a_key_pair_is_refused_by_name_and_without_the_secret() {
        refused(
            |args| args.s3_secret_access_key = Some("hunter2".into()),
            &["SNOWPACK_S3_SECRET_ACCESS_KEY", "SNOWPACK_S3_ACCESS_KEY_ID"],
        );
        refused(
            |args| {
                args.s3_access_key_id = Some("AKIA".into());
                args.s3_secret_access_key = Some(String::new());
            },
            &["SNOWPACK_S3_ACCESS_KEY_ID", "SNOWPACK_S3_SECRET_ACCESS_KEY"],
        );
        refused(
            |args| args.s3_session_token = Some("hunter2".into()),
            &["SNOWPACK_S3_SESSION_TOKEN", "SNOWPACK_S3_ACCESS_KEY_ID"],
        );
    }

    #[test]
    fn empty_counts_as_unset_and_secrets_are_never_shown() {
        let empty = args(|args| {
            args.s3_endpoint = Some(String::new());
            args.s3_path_style = Some(String::new());
            args.s3_access_key_id = Some(String::new());
        });
        let settings = Settings::parse(&empty).unwrap();
        assert!(settings.endpoint.is_none() && settings.keys.is_none());
        let full = args(|args| {
            args.s3_endpoint = Some("http://localhost:9000".into());
            args.s3_access_key_id = Some("hunter2".into());
            args.s3_secret_access_key = Some("hunter2".into());
            args.s3_session_token = Some("hunter2".into());
        });
        let settings = Settings::parse(&full).unwrap();
        assert!(settings.on_this_host() && settings.keys.is_some());
        assert!(!format!("{full:?} {settings:?}").contains("hunter2"));
    }
}
