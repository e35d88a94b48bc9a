//! What became of a commit.
//!
//! Landed is what the answer shows; refused is what the protocol calls so. All else is unknown, and whoever
//! committed looks.

use metadata::{TableMetadata, Update};
use reqwest::StatusCode;

use super::answer::Loaded;
use super::trouble::Trouble;
use super::{RestCatalog, failed};
use crate::{Catalog as _, Error, Prepared, Table};

impl RestCatalog {
    /// A good answer to a commit: the table with what was committed, or unknown.
    pub(super) async fn landed(
        &self,
        prepared: &Prepared,
        answer: &Loaded,
    ) -> Result<Table, Error> {
        let unknown = |source| Error::Unknown {
            table: prepared.base.name.clone(),
            source,
        };
        let table = self.table(&prepared.base.name, answer).await;
        let table = table.map_err(|error| unknown(error.into()))?;
        match differs(prepared, &table.metadata) {
            None => Ok(table),
            Some(why) => Err(unknown(
                format!("the server took the commit and answered with {why}").into(),
            )),
        }
    }

    /// What a bad answer to a commit says.
    pub(super) async fn not_landed(&self, prepared: &Prepared, trouble: Trouble) -> Error {
        let table = &prepared.base.name;
        if trouble.may_have_landed() {
            return Error::Unknown {
                table: table.clone(),
                source: trouble.into(),
            };
        }
        let stale = trouble.conflict()
            // Some servers check what a commit relies on only when they apply it.
            || (matches!(
                trouble.status(),
                Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
            ) && self.moved(&prepared.base).await);
        if stale {
            return Error::Conflict {
                table: table.clone(),
                why: trouble.to_string(),
            };
        }
        if trouble.missing() {
            return Error::NoSuchTable(table.clone());
        }
        failed(&format!("commit to {table}"), trouble)
    }

    /// Whether the table is another by now. What cannot be told counts as no.
    async fn moved(&self, base: &Table) -> bool {
        let now = self.load(&base.name).await;
        now.is_ok_and(|now| now.metadata_location != base.metadata_location)
    }
}

/// How the table that a server answers with differs from what was committed.
fn differs(prepared: &Prepared, found: &TableMetadata) -> Option<&'static str> {
    if found.uuid() != prepared.base.metadata.uuid() {
        return Some("another table");
    }
    prepared.updates.iter().find_map(|update| match update {
        Update::AddSnapshot { snapshot } => found
            .snapshot(snapshot.snapshot_id)
            .is_none()
            .then_some("a table without the snapshot"),
        Update::RemoveSnapshots { snapshot_ids } => snapshot_ids
            .iter()
            .any(|id| found.snapshot(*id).is_some())
            .then_some("a table with a snapshot that was removed"),
        _ => None,
    })
}
