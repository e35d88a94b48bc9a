//! The metrics registry of a process. Every crate registers its own; this one says which build
//! is running.

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

use crate::Error;

/// A registry that holds `snowpack_build_info{program,version} 1`.
pub fn registry(program: &str) -> Result<Registry, Error> {
    let registry = Registry::new();
    let build = IntGaugeVec::new(
        Opts::new(
            "snowpack_build_info",
            "Always 1; the labels say what is running",
        ),
        &["program", "version"],
    )?;
    build
        .with_label_values(&[program, env!("CARGO_PKG_VERSION")])
        .set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

/// The registry in Prometheus's text format.
pub fn text(registry: &Registry) -> Result<String, Error> {
    Ok(TextEncoder::new().encode_to_string(&registry.gather())?)
}
