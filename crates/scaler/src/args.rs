//! The scaler's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::Tls;

use crate::token::Token;

const EXIT_CODES: &str = "\
Routes:
  GET /ready-count                  {\"ready\":12}, the maintenance lane
  GET /v1/lanes/LANE/ready?pool=P   ready, running, demand (= both), scheduled, oldest age
  GET /healthz, /readyz, /metrics
  gRPC externalscaler.ExternalScaler, on a port of its own, for KEDA's external-push

Exit codes: 0 stopped by a signal, 1 failed to start, 2 bad usage.";

/// Answers KEDA's question: how many jobs wait
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) listen: pg::ListenArgs,
    /// Where to answer; port 0 takes a free one
    #[arg(
        long,
        env = "SNOWPACK_SCALER_ADDR",
        default_value = "0.0.0.0:9091",
        value_name = "ADDRESS",
        value_parser = runtime::address
    )]
    pub(crate) scaler_addr: SocketAddr,
    /// Where gRPC is answered; port 0 takes a free one
    #[arg(
        long,
        env = "SNOWPACK_SCALER_GRPC_ADDR",
        default_value = "0.0.0.0:9092",
        value_name = "ADDRESS",
        value_parser = runtime::address
    )]
    pub(crate) scaler_grpc_addr: SocketAddr,
    /// PEM file with the certificate and those that vouch for it: callers speak TLS, on both
    /// ports; read again when it changes
    #[arg(long, env = "SNOWPACK_SCALER_TLS_CERT_FILE", value_name = "FILE")]
    scaler_tls_cert_file: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, env = "SNOWPACK_SCALER_TLS_KEY_FILE", value_name = "FILE")]
    scaler_tls_key_file: Option<PathBuf>,
    /// Token the counts ask for: bearer, or in the trigger's metadata; not set: they are open
    #[arg(
        long,
        env = "SNOWPACK_SCALER_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    scaler_token: Option<Secret>,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

impl Args {
    /// The token, refused when it is empty: an empty secret is a forgotten one.
    pub(crate) fn token(&self) -> Result<Token, runtime::Error> {
        match &self.scaler_token {
            Some(Secret(token)) if token.is_empty() => Err(runtime::Error::Usage(
                "environment variable SNOWPACK_SCALER_TOKEN is empty: allowed is any text, or \
                 leave it out"
                    .to_owned(),
            )),
            token => Ok(Token::new(
                token.as_ref().map(|Secret(token)| token.clone()),
            )),
        }
    }

    /// The certificate, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<Arc<Tls>>, runtime::Error> {
        Tls::open(
            (
                "SNOWPACK_SCALER_TLS_CERT_FILE",
                self.scaler_tls_cert_file.as_deref(),
            ),
            (
                "SNOWPACK_SCALER_TLS_KEY_FILE",
                self.scaler_tls_key_file.as_deref(),
            ),
        )
    }
}

/// A text that `Debug` does not show.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}
