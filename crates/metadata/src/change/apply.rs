//! Makes the next document out of a document and updates.
use crate::{Error, TableMetadata, Update};
impl TableMetadata {
    /// The document after `updates`, in their order, made at `now_ms` (the catalog's clock).
    pub fn apply(&self, _updates: &[Update], _now_ms: i64) -> Result<Self, Error> {
        unimplemented!()
    }
}
