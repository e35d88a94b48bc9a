//! Where tables are found and swapped: the port [`Catalog`], the SQL catalog and the REST catalog.
//!
//! Decides nothing. A commit has two steps: [`Catalog::prepare`] checks and writes what is slow
//! (metadata.json), [`Catalog::swap`] makes it visible and is the only step run under a guard.

mod args;
mod documents;
mod error;
mod place;
mod port;
mod rest;
mod sql;
#[cfg(feature = "suite")]
pub mod suite;
mod territory;

pub use args::{Args, Kind, open};
pub use error::Error;
pub use port::{Catalog, Listed, NewTable, Prepared, Table};
pub use rest::RestCatalog;
pub use sql::SqlCatalog;
pub use territory::Territory;
