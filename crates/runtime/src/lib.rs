//! What every process needs and none should write twice: arguments and environment, logs,
//! metrics, the admin server, HTTP and TLS, signals, exit codes. Knows nothing about jobs or tables.
//!
//! A binary's `main` is two calls: [`arguments`] reads the command line, the environment and
//! the configuration file (or ends with code 2), [`run`] runs the program and turns its result
//! into an exit code.

mod admin;
mod allocator;
mod arguments;
mod config;
mod effective;
mod environment;
mod error;
pub mod http;
pub mod metrics;
mod process;
mod shutdown;
mod tls;
mod trace;

pub use admin::{Admin, AdminArgs, Ready};
pub use allocator::give_freed_memory_back;
pub use arguments::{address, arguments, command, number};
pub use environment::SETTINGS;
pub use error::Error;
pub use process::{Exit, chain, run};
pub use shutdown::Shutdown;
pub use tls::Tls;
pub use trace::{LogArgs, LogFormat};
