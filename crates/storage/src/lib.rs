//! Locations in their one normal form, and objects read and written at them.
//!
//! Knows nothing of Iceberg. Every call is bounded: retries, time, and bytes in flight.

mod args;
mod error;
mod location;
mod store;

pub use args::Args;
pub use error::Error;
pub use location::Location;
pub use store::{Storage, Upload};
