//! The KEDA-compatible ready count of every lane: one number, whoever asks for it.
//!
//! Runs beside the API, never beside the worker: workers scale to zero, and this is what brings
//! them back. Wiring only; [`counts`] decides when Postgres is asked, [`routes`] what is said.

mod args;
mod counts;
mod database;
mod metrics;
mod routes;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use runtime::Shutdown;
use tracing::info;

use crate::args::Args;
use crate::counts::Counts;
use crate::database::Database;
use crate::routes::Routes;

const NAME: &str = "snowpack-scaler";

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, serve(args)),
        Err(code) => code,
    }
}

/// Answers until SIGTERM. Starts without Postgres too, and says 503 until it is there.
async fn serve(args: Args) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(std::time::Duration::ZERO)?;
    let registry = runtime::metrics::registry(NAME)?;
    let database = Database::new(&args.database, metrics::Reads::register(&registry)?);
    let counts = Arc::new(Counts::new(database));
    let gauges = metrics::Gauges::register(&registry)?;
    let routes = Arc::new(Routes::new(counts, gauges, registry, args.token()?));
    let listener = runtime::http::bind(args.scaler_addr, "SNOWPACK_SCALER_ADDR").await?;
    info!(address = %listener.local_addr()?, "scaler listens");
    let answer = move |ask: runtime::http::Ask| {
        let routes = Arc::clone(&routes);
        async move { routes.answer(&ask).await }
    };
    runtime::http::serve(listener, answer, shutdown.drain).await;
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
