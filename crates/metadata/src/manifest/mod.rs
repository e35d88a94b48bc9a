//! Manifests and manifest lists: read lean, written whole.
//!
//! `read` decodes only the fields asked for; `write` makes new manifests; `rewrite` replaces one
//! manifest by another and `merge` many by few, without losing a byte of the entries they keep
//! (`carry`); `list` reads and
//! `list_write` writes the list of a snapshot's manifests, `embedded` stands in for a list that an old
//! snapshot lacks, `count` compares what lists count. `partition` gives the types of
//! partition values, `schema` the Avro schemas, `types` holds the words.

mod carry;
mod count;
mod embedded;
mod list;
mod list_write;
mod merge;
mod partition;
mod read;
mod rewrite;
mod schema;
#[cfg(test)]
mod tests;
mod types;
mod write;

use crate::{Error, TableMetadata};

pub(crate) use count::count;
pub use count::counted;
pub use list::read_manifest_list;
pub use list_write::write_manifest_list;
pub use merge::{Gathered, Merge, Shape};
pub(crate) use partition::SpecTypes;
pub use partition::is_typed;
pub use read::read_manifest;
pub(crate) use read::{fold, load, malformed};
pub use rewrite::{Rewritten, rewrite_manifest};
pub(crate) use types::CarriedField;
pub use types::{
    Bound, Carried, ColumnMap, Content, DataFile, Entry, EntryStatus, FieldSummary, Fields,
    ManifestContent, ManifestFile,
};
pub use write::{ManifestWriter, check_codec};

/// Something this version does not write, and why.
fn unwritable(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Unsupported(format!("write {what}: {why}"))
}

/// The format version to write `what` in: the table's own.
fn writable(what: &str, table: &TableMetadata) -> Result<u8, Error> {
    match table.format_version() {
        version @ (1 | 2) => Ok(version),
        version => Err(unwritable(
            what,
            format!("format version {version} is not written yet"),
        )),
    }
}
