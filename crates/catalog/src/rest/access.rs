//! How a table's files are reached: with the keys its catalog gave out, or with our own.
//!
//! Keys come with every load and are not fetched anew while a table is worked on: what outlives them fails
//! and is tried again with the keys of its next load.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use storage::Storage;

use super::RestCatalog;

const KEY_ID: &str = "s3.access-key-id";
const SECRET_KEY: &str = "s3.secret-access-key";
/// What a catalog may say of how a table is reached, as far as it is used.
const KEYS: &[&str] = &[
    KEY_ID,
    SECRET_KEY,
    "s3.session-token",
    "client.region",
    "s3.region",
    "s3.endpoint",
    "s3.path-style-access",
];

/// How a table is reached, as its catalog says.
pub(super) type Keys = BTreeMap<&'static str, String>;

/// Whatever a server says of its tables, no file of this machine is touched, unless a setting names a
/// place where tables lie.
pub(super) fn bounded(storage: Storage, access: &storage::Args) -> Storage {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if set(&access.warehouse) || set(&access.locations) {
        storage
    } else {
        storage.without_files()
    }
}

impl RestCatalog {
    /// What reaches a table's files: with the keys its catalog gave, else with our own.
    pub(super) fn storage_of(
        &self,
        access: &BTreeMap<String, String>,
    ) -> Result<Storage, storage::Error> {
        let keys: Keys = KEYS
            .iter()
            .filter_map(|key| Some((*key, access.get(*key)?.clone())))
            .collect();
        let said = |key: &str| keys.get(key).cloned();
        let (Some(id), Some(secret)) = (said(KEY_ID), said(SECRET_KEY)) else {
            return Ok(self.storage.clone());
        };
        let mut keyed = self.keyed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, storage)) = &*keyed
            && *known == keys
        {
            return Ok(storage.clone());
        }
        let own = self.access.clone();
        let storage = Storage::new(&storage::Args {
            s3_access_key_id: Some(id),
            s3_secret_access_key: Some(secret),
            s3_session_token: said("s3.session-token"),
            s3_region: said("client.region")
                .or_else(|| said("s3.region"))
                .or(own.s3_region),
            s3_endpoint: said("s3.endpoint").or(own.s3_endpoint),
            s3_path_style: said("s3.path-style-access").or(own.s3_path_style),
            warehouse: own.warehouse,
            locations: own.locations,
        })?;
        let storage = bounded(storage, &self.access);
        *keyed = Some((keys, storage.clone()));
        Ok(storage)
    }
}
