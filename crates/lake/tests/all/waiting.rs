//! The files that wait for their deletion in a test's ledger, all of them due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use planner::{Due, Fate, Orphans, Purge, Purged, Reason};

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By table UUID and path.
    files: Mutex<BTreeMap<(String, String), File>>,
}

#[derive(Debug)]
struct File {
    size_bytes: Option<u64>,
    reason: Reason,
    modified_ms: Option<i64>,
    /// None while it waits.
    fate: Option<Fate>,
}

impl Waiting {
    pub(crate) fn add(&self, table_uuid: &str, path: &str, reason: Reason) {
        self.add_written(table_uuid, path, (reason, None));
    }

    /// With the time it was last written at.
    pub(crate) fn add_written(
        &self,
        table_uuid: &str,
        path: &str,
        (reason, modified_ms): (Reason, Option<i64>),
    ) {
        let key = (table_uuid.to_owned(), path.to_owned());
        let file = File {
            size_bytes: Some(10),
            reason,
            modified_ms,
            fate: None,
        };
        self.files.lock().unwrap().insert(key, file);
    }

    pub(crate) fn due(&self, table_uuid: &str, after: Option<&str>, limit: usize) -> Vec<Due> {
        let files = self.files.lock().unwrap();
        let due = files.iter().filter(|((uuid, path), file)| {
            uuid == table_uuid
                && file.fate.is_none()
                && after.is_none_or(|after| path.as_str() > after)
        });
        let due = due.map(|((_, path), file)| Due {
            path: path.clone(),
            size_bytes: file.size_bytes,
            reason: file.reason,
            modified_ms: file.modified_ms,
        });
        due.take(limit).collect()
    }

    /// The tables something waits of. A test's tables have all had one name.
    pub(crate) fn tables(&self) -> Vec<String> {
        let files = self.files.lock().unwrap();
        let waiting = files.iter().filter(|(_, file)| file.fate.is_none());
        let tables: BTreeSet<String> = waiting.map(|((uuid, _), _)| uuid.clone()).collect();
        tables.into_iter().collect()
    }

    pub(crate) fn purged(&self, table_uuid: &str, fates: &[Purged]) {
        let mut files = self.files.lock().unwrap();
        for purged in fates {
            let key = (table_uuid.to_owned(), purged.path.clone());
            let file = files.get_mut(&key).expect("a listed file");
            assert!(file.fate.is_none(), "{} ended twice", purged.path);
            file.fate = Some(purged.fate.clone());
        }
    }

    pub(crate) fn orphans(&self, table_uuid: &str) -> Orphans {
        let mut orphans = Orphans::default();
        for ((uuid, _), file) in &*self.files.lock().unwrap() {
            if uuid == table_uuid && file.reason == Reason::Orphan && file.fate.is_none() {
                orphans.files += 1;
                orphans.bytes += file.size_bytes.unwrap_or(0);
            }
        }
        orphans
    }

    pub(crate) fn purged_so_far(&self) -> Purge {
        let mut purge = Purge::default();
        for file in self.files.lock().unwrap().values() {
            match file.fate {
                Some(Fate::Deleted) => {
                    purge.deleted += 1;
                    purge.bytes += file.size_bytes.unwrap_or(0);
                }
                Some(Fate::Kept(_)) => purge.kept += 1,
                Some(Fate::Failed(_)) => purge.failed += 1,
                None => {}
            }
        }
        purge
    }

    /// What became of a file; `None` while it waits.
    pub(crate) fn fate(&self, path: &str) -> Option<Fate> {
        let files = self.files.lock().unwrap();
        let file = files.iter().find(|((_, known), _)| known == path);
        file.expect("a listed file").1.fate.clone()
    }
}
