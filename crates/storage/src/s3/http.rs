//! The HTTP client below the library: our TLS, our timeouts, answers that keep their words.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, HeaderValue};
use reqwest::Url;

use super::refusal::{Refusal, is_error};
use super::settings::{Limits, Settings, on_this_host};

/// A client for requests to S3 and to where credentials come from.
pub(crate) fn client(settings: &Settings) -> Result<reqwest::Client, String> {
    bounded(settings.limits, settings.on_this_host())
}

/// A client for requests to the server at `url`, with the TLS and the timeouts of those to S3.
pub fn http_client(url: &Url) -> Result<reqwest::Client, String> {
    bounded(Limits::default(), on_this_host(url))
}

fn bounded(limits: Limits, on_this_host: bool) -> Result<reqwest::Client, String> {
    let Limits {
        connect_timeout,
        idle_timeout,
        call_timeout,
        ..
    } = limits;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .http1_only()
        // A redirect leads to another host, where a signature does not hold and no token may go.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .read_timeout(idle_timeout)
        .timeout(call_timeout);
    if on_this_host {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| error.to_string())
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    // Without any, a server with TLS is refused by its certificate; others are reached.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Gives the library the client as it is: for credentials.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) reqwest::Client);

impl HttpConnector for Plain {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Gives the library a client that turns every refusal of S3 into a [`Refusal`], and makes the
/// end of a multipart upload conditional, which the library does not offer.
#[derive(Debug, Clone)]
pub(crate) struct Telling(pub(crate) reqwest::Client);

impl HttpConnector for Telling {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Telling {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let posted = request.method().as_str() == "POST";
        let query = request.uri().query().unwrap_or_default();
        if posted && query.contains("uploadId=") {
            // Added after signing: a signature covers the headers it lists.
            let any = HeaderValue::from_static("*");
            request.headers_mut().insert("if-none-match", any);
        }
        let (parts, body) = HttpService::call(&self.0, request).await?.into_parts();
        if parts.status.is_success() && !posted {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let body = body.bytes().await?;
        if parts.status.is_success() && !is_error(&body) {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        let refusal = Refusal::new(parts.status.as_u16(), &parts.headers, &body);
        Err(HttpError::new(HttpErrorKind::Unknown, refusal))
    }
}
