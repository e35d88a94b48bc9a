//! The KEDA-compatible ready count of every lane: one number, whoever asks for it.
//!
//! Runs beside the API, never beside the worker: workers scale to zero, and this is what brings
//! them back. Wiring only; [`counts`] decides when Postgres is asked, [`routes`] and [`grpc`] what
//! is said, [`activity`] when it is said unasked.

mod activity;
mod args;
mod calls;
mod counts;
mod database;
mod grpc;
mod metrics;
mod pool;
mod routes;
mod token;
mod trigger;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use runtime::Shutdown;
use runtime::http::{self, Ask, Bounds};
use tracing::info;

use crate::args::Args;
use crate::calls::Calls;
use crate::counts::Counts;
use crate::database::Database;
use crate::grpc::Grpc;
use crate::metrics::{Gauges, Reads, Streams};
use crate::routes::Routes;

const NAME: &str = "snowpack-scaler";

/// KEDA keeps one connection for all its triggers. It waits two seconds before it asks again for
/// a stream that ended, so connections last.
const GRPC_CONNECTION_WITHIN: Duration = Duration::from_hours(1);

/// KEDA needs one, each replica of its operator.
const GRPC_CONNECTIONS_MAX: usize = 32;
/// On one connection: a stream for each trigger, and a question or two.
const GRPC_REQUESTS_MAX: u32 = 128;
const GRPC_HEAD_BYTES_MAX: usize = 2 * 1024;
// Heads that strangers send, each kept about four times over, are no third of 64 MiB, the memory the
// chart gives.
const _: () = assert!(
    GRPC_CONNECTIONS_MAX * GRPC_REQUESTS_MAX as usize * GRPC_HEAD_BYTES_MAX * 4 <= 32 * 1024 * 1024
);

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, serve(args)),
        Err(code) => code,
    }
}

/// Answers until SIGTERM. Starts without Postgres too, and says 503 until it is there.
async fn serve(args: Args) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let (token, tls) = (args.token()?, args.tls()?);
    let registry = runtime::metrics::registry(NAME)?;
    let reads = Reads::register(&registry)?;
    let database = Database::new(&args.database, &args.listen, reads);
    let database = Arc::new(database);
    let counts = Arc::new(Counts::new(Arc::clone(&database)));
    let grpc = Arc::new(Grpc::new(
        Arc::clone(&counts),
        Calls::new(database, shutdown.drain.clone()),
        Streams::register(&registry)?,
        token.clone(),
    ));
    let gauges = Gauges::register(&registry)?;
    let routes = Arc::new(Routes::new(counts, gauges, registry, token));

    let json = http::bind(args.scaler_addr, "SNOWPACK_SCALER_ADDR").await?;
    let json = json.with_tls(tls.as_ref())?;
    let push = http::bind(args.scaler_grpc_addr, "SNOWPACK_SCALER_GRPC_ADDR").await?;
    let push = push.http2().with_tls(tls.as_ref())?;
    info!(address = %push.local_addr()?, "scaler answers gRPC");
    info!(address = %json.local_addr()?, "scaler listens");
    if let Some(tls) = tls {
        tokio::spawn(tls.follow(shutdown.drain.clone()));
    }
    let answer_json = move |ask: Ask| {
        let routes = Arc::clone(&routes);
        async move { routes.answer(&ask).await }
    };
    let answer_grpc = move |ask: Ask| Arc::clone(&grpc).answer(ask);
    let bounds = Bounds {
        connections_max: GRPC_CONNECTIONS_MAX,
        connections_max_per_address: GRPC_CONNECTIONS_MAX / 2,
        requests_max: GRPC_REQUESTS_MAX,
        head_bytes_max: GRPC_HEAD_BYTES_MAX,
        connection_within: GRPC_CONNECTION_WITHIN,
        ..Bounds::default()
    };
    tokio::join!(
        http::serve(json, answer_json, shutdown.drain.clone()),
        http::serve_within(push, bounds, answer_grpc, shutdown.drain.clone()),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        for argument in Args::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
