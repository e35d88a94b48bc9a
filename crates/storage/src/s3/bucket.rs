//! One bucket and the client that reaches it.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::path::Path;
use object_store::{BackoffConfig, RetryConfig};
use reqwest::Url;

use super::http::{Plain, Telling};
use super::settings::Settings;
use crate::{Error, Location};

/// What the library calls an S3 region nobody named.
const REGION: &str = "us-east-1";

pub(crate) struct Bucket {
    pub(crate) name: String,
    /// Where requests go, for messages.
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) store: AmazonS3,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client would show its keys.
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// One object, and what its caller called it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) location: String,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) key: Path,
}

/// The key that `location`, written as `text`, names. Never a folder, never a bucket.
pub(crate) fn key(text: &str, location: &Location) -> Result<Path, Error> {
    let refuse = |why| Error::BadLocation {
        location: text.to_owned(),
        why,
    };
    let key = location.path().trim_start_matches('/');
    if key.is_empty() {
        return Err(refuse("it names a bucket, not an object"));
    }
    if text.ends_with('/') {
        return Err(refuse("it names a folder, not an object"));
    }
    let parsed = Path::parse(key).ok();
    // The library drops slashes at either end, and would reach another object.
    parsed
        .filter(|parsed| location.path().strip_prefix('/') == Some(parsed.as_ref()))
        .ok_or_else(|| refuse("a key with empty parts (`//`) is not built in this version"))
}

/// The bucket's name, if it can be one: it becomes part of a host's name.
pub(crate) fn name<'a>(text: &str, location: &'a Location) -> Result<&'a str, Error> {
    let name = location.authority();
    if name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
    {
        return Ok(name);
    }
    Err(Error::BadLocation {
        location: text.to_owned(),
        why: "no bucket has such a name",
    })
}

/// What all buckets share.
pub(crate) struct Maker {
    builder: AmazonS3Builder,
    settings: Settings,
    client: reqwest::Client,
    /// `None`: requests are not signed.
    credentials: Option<AwsCredentialProvider>,
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maker")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Maker {
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let client = super::http::client(&settings)?;
        let mut builder = match &settings.keys {
            Some(keys) => {
                let builder = AmazonS3Builder::new()
                    .with_access_key_id(&keys.id)
                    .with_secret_access_key(&keys.secret);
                match &keys.session_token {
                    Some(token) => builder.with_token(token),
                    None => builder,
                }
            }
            // AWS_* variables, a web identity, the container's or the machine's role.
            None => AmazonS3Builder::from_env(),
        };
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        let unsigned = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature);
        let credentials = match unsigned.as_deref() {
            Some("true") => None,
            _ => Some(credentials(builder.clone(), &client)?),
        };
        Ok(Self {
            builder,
            settings,
            client,
            credentials,
        })
    }

    pub(crate) fn bucket(&self, name: &str) -> Result<Bucket, String> {
        let asked = |key| {
            self.builder
                .get_config_value(&key)
                .filter(|value| !value.is_empty())
        };
        let endpoint = match &self.settings.endpoint {
            Some(endpoint) => Some(endpoint.clone()),
            None => asked(AmazonS3ConfigKey::S3Endpoint)
                .or_else(|| asked(AmazonS3ConfigKey::Endpoint))
                .map(|text| Url::parse(&text).map_err(|error| format!("AWS_ENDPOINT_URL: {error}")))
                .transpose()?,
        };
        let path_style = self.settings.path_style.unwrap_or(endpoint.is_some());
        let region = asked(AmazonS3ConfigKey::Region).unwrap_or_else(|| REGION.to_owned());
        let mut builder = self
            .builder
            .clone()
            .with_bucket_name(name)
            .with_region(&region)
            .with_virtual_hosted_style_request(!path_style)
            .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch)
            .with_retry(never())
            .with_http_connector(Telling(self.client.clone()));
        if let Some(credentials) = &self.credentials {
            builder = builder.with_credentials(credentials.clone());
        }
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(at(endpoint, name, path_style)?);
        }
        Ok(Bucket {
            name: name.to_owned(),
            endpoint: endpoint.map_or_else(|| format!("AWS {region}"), |url| bare(&url)),
            region,
            store: builder.build().map_err(|error| error.to_string())?,
        })
    }

    /// Fails where no keys are to be had. They are kept until they run out.
    pub(crate) async fn sign_in(&self) -> Result<(), String> {
        match &self.credentials {
            Some(credentials) => match credentials.get_credential().await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            None => Ok(()),
        }
    }
}

/// One provider for all buckets, so that what it fetched is fetched once.
fn credentials(
    builder: AmazonS3Builder,
    client: &reqwest::Client,
) -> Result<AwsCredentialProvider, String> {
    let any = builder
        .with_bucket_name("any")
        .with_retry(never())
        .with_http_connector(Plain(client.clone()))
        .build();
    Ok(any
        .map_err(|error| error.to_string())?
        .credentials()
        .clone())
}

/// The library's own retries are off: it would not tell us that an answer was lost.
fn never() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    }
}

/// The endpoint as the library wants it: with the bucket before the host, or after all.
fn at(endpoint: &Url, bucket: &str, path_style: bool) -> Result<String, String> {
    if path_style {
        return Ok(bare(endpoint));
    }
    let mut endpoint = endpoint.clone();
    let host = endpoint.host_str().unwrap_or_default();
    let host = format!("{bucket}.{host}");
    endpoint
        .set_host(Some(&host))
        .map_err(|error| format!("{host}: {error}; set SNOWPACK_S3_PATH_STYLE=true"))?;
    Ok(bare(&endpoint))
}

fn bare(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<&str, &str>) {
        let location = Location::parse(text).unwrap();
        match (key(text, &location), want) {
            (Ok(key), Ok(want)) => assert_eq!(key.as_ref(), want, "{text}"),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{text}: {error}"),
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn a_location_names_one_key_or_is_refused() {
        check("s3://b/w/t/a.parquet", Ok("w/t/a.parquet"));
        check("s3a://b/w/région=a%2Fb/x y+z", Ok("w/région=a%2Fb/x y+z"));
        check("s3://b", Err("a bucket"));
        check("s3://b/", Err("a bucket"));
        check("s3://b///", Err("a bucket"));
        check("s3://b/w/t/", Err("a folder"));
        check("s3://b//w/t", Err("`//`"));
        check("s3://b/w//t", Err("`//`"));
    }

    #[test]
    fn the_bucket_goes_before_the_host_or_behind_it() {
        let url = Url::parse("http://localhost:9000").unwrap();
        assert_eq!(at(&url, "b", true).unwrap(), "http://localhost:9000");
        assert_eq!(at(&url, "b", false).unwrap(), "http://b.localhost:9000");
    }
}
