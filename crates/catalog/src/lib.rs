//! Where tables are found and swapped: the port [`Catalog`], and the SQL catalog.
//!
//! Decides nothing. A commit has two steps: [`Catalog::prepare`] checks and writes what is slow
//! (metadata.json), [`Catalog::swap`] makes it visible and is the only step run under a guard.

mod error;
mod port;

pub use error::Error;
pub use port::{Catalog, NewTable, Prepared, Table};
