//! Locations in their one normal form, and objects read and written at them.
//!
//! Knows nothing of Iceberg. Retries, open files and waste by coalescing are bounded. Local files
//! are reached directly: what is written is on the disk before a catalog may name it, and nothing
//! that exists is ever replaced.

mod args;
mod error;
mod local;
mod location;
mod store;

pub use args::Args;
pub use error::Error;
pub use location::{Location, Scheme};
pub use store::{Storage, Upload};
