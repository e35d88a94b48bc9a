//! The admin server: is the process stuck (`/healthz`), should it get work (`/readyz`), what
//! does it measure (`/metrics`).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::{Method, StatusCode};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::Error;
use crate::http::{self, Answer};
use crate::metrics;

/// A readiness answer that takes longer is a no.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Where the admin server listens.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one
    #[arg(
        long,
        env = "SNOWPACK_ADMIN_ADDR",
        default_value = "0.0.0.0:9090",
        value_name = "ADDRESS",
        value_parser = crate::address
    )]
    pub admin_addr: SocketAddr,
}

/// Says whether the process should get work, or why not.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The three routes, for a server of their own or as part of another.
#[derive(Clone)]
pub struct Admin {
    registry: Registry,
    ready: Ready,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    pub fn new(registry: Registry, ready: Ready) -> Self {
        Self { registry, ready }
    }

    /// Serves until `stop`. Returns once the port is open, with the address it is open on.
    pub async fn start(
        self,
        args: &AdminArgs,
        stop: CancellationToken,
    ) -> Result<(SocketAddr, JoinHandle<()>), Error> {
        const SETTING: &str = "SNOWPACK_ADMIN_ADDR";
        let listener = http::bind(args.admin_addr, SETTING).await?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: args.admin_addr,
            setting: SETTING,
            source,
        })?;
        info!(%address, "admin server listens");
        let answer = move |ask: http::Ask| {
            let admin = self.clone();
            async move {
                let found = admin.answer(ask.method(), ask.uri().path()).await;
                found.unwrap_or_else(http::not_found)
            }
        };
        Ok((address, tokio::spawn(http::serve(listener, answer, stop))))
    }

    /// The answer, or `None` for a path that is not of the three.
    pub async fn answer(&self, method: &Method, path: &str) -> Option<Answer> {
        if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return None;
        }
        if !http::reads(method) {
            return Some(http::not_allowed());
        }
        Some(match path {
            "/healthz" => http::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness().await,
            _ => self.exposition(),
        })
    }

    async fn readiness(&self) -> Answer {
        let why = match tokio::time::timeout(READY_WITHIN, (self.ready)()).await {
            Ok(Ok(())) => return http::text(StatusCode::OK, "ready\n"),
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {} s", READY_WITHIN.as_secs()),
        };
        http::text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
    }

    fn exposition(&self) -> Answer {
        match metrics::text(&self.registry) {
            Ok(page) => http::with_type(StatusCode::OK, prometheus::TEXT_FORMAT, page),
            Err(error) => {
                error!(%error, "metrics cannot be written");
                http::text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "metrics cannot be written\n",
                )
            }
        }
    }
}
