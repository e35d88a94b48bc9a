//! What lies in a table's folder, who refers to it, and who knows of it.

use std::collections::BTreeSet;

use catalog::{Catalog, SqlCatalog};
use metadata::{EntryStatus, Fields, read_manifest, read_manifest_list};

use crate::lakehouse::{CATALOG, Lakehouse, plain};

/// The files of one table, as plain paths.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) reachable: BTreeSet<String>,
    pub(crate) there: BTreeSet<String>,
}

impl Lakehouse {
    pub(crate) async fn files(&self, table: &str) -> Files {
        let database = self.database.pool().await;
        let pool = self.catalog().pool().await;
        let storage = self.storage();
        let warehouse = Some(self.warehouse());
        let opened = SqlCatalog::open(
            CATALOG,
            pool,
            Some(&database),
            &storage,
            warehouse.as_deref(),
        );
        let loaded = opened.await.unwrap();
        let name = format!("db.{table}").parse().unwrap();
        let loaded = loaded.load(&name).await.unwrap();
        let document = &loaded.metadata;
        let mut reachable = BTreeSet::from([plain(&loaded.metadata_location)]);
        let log = document.metadata_log();
        reachable.extend(log.iter().map(|entry| plain(&entry.metadata_file)));
        for snapshot in document.snapshots() {
            reachable.insert(plain(&snapshot.manifest_list));
            for manifest in read_manifest_list(&storage, snapshot).await.unwrap() {
                reachable.insert(plain(&manifest.manifest_path));
                let entries = read_manifest(&storage, &manifest, document, Fields::PLAN).await;
                let live = entries.unwrap().into_iter();
                let live = live.filter(|entry| entry.status != EntryStatus::Deleted);
                reachable.extend(live.map(|entry| plain(&entry.file.file_path)));
            }
        }
        let folder = format!("{}/", plain(document.location()));
        let below = self.there().into_iter();
        Files {
            reachable,
            there: below.filter(|path| path.starts_with(&folder)).collect(),
        }
    }

    /// Paths the ledger knows: being written, waiting or kept.
    pub(crate) async fn known(&self) -> BTreeSet<String> {
        self.paths(
            "select path from snowpack.attempt_files \
             union select path from snowpack.pending_deletions where state <> 'deleted'",
        )
        .await
    }

    async fn paths(&self, sql: &str) -> BTreeSet<String> {
        let client = self.database.client().await;
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| plain(row.get(0))).collect()
    }

    /// Expiries of the table which are intended and not settled.
    pub(crate) async fn open_intents(&self) -> i64 {
        let sql = "select count(*) from snowpack.expiry_intents where closed_at is null";
        let client = self.database.client().await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Files of attempts that are over, in the ledger or listed and not deleted.
    pub(crate) async fn waiting_of_attempts(&self) -> i64 {
        let sql = "select (select count(*) from snowpack.attempt_files where committed_at is null) \
                   + (select count(*) from snowpack.pending_deletions \
                      where reason = 'attempt' and state = 'pending')";
        let client = self.database.client().await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Nothing reachable is missing, nothing else is there that nobody knows of, and what is gone
    /// was listed before it went.
    pub(crate) async fn nothing_is_lost(&self, table: &str, before: &Files, when: &str) {
        let now = self.files(table).await;
        let missing: Vec<_> = now.reachable.difference(&now.there).collect();
        assert!(
            missing.is_empty(),
            "{when}: reachable and gone: {missing:#?}"
        );
        let known = self.known().await;
        let intended = self.open_intents().await > 0;
        let stray: Vec<_> = now
            .there
            .difference(&now.reachable)
            .filter(|path| !known.contains(*path))
            .filter(|path| !(intended && before.reachable.contains(*path)))
            .collect();
        assert!(stray.is_empty(), "{when}: nobody knows of {stray:#?}");
        let listed = self
            .paths("select path from snowpack.pending_deletions")
            .await;
        let early: Vec<_> = before
            .there
            .difference(&now.there)
            .filter(|path| !listed.contains(*path))
            .collect();
        assert!(
            early.is_empty(),
            "{when}: deleted without a list: {early:#?}"
        );
    }

    /// What only expired snapshots held is gone.
    pub(crate) async fn only_the_current_is_left(&self, table: &str, before: &Files, when: &str) {
        let now = self.files(table).await;
        let left: Vec<_> = before
            .reachable
            .intersection(&now.there)
            .filter(|path| !now.reachable.contains(*path))
            .collect();
        assert!(left.is_empty(), "{when}: still there: {left:#?}");
        let gone = before.reachable.difference(&now.there).count();
        assert!(
            gone >= 4,
            "{when}: lists, manifests and a data file: only {gone} went"
        );
        assert_eq!(self.open_intents().await, 0, "{when}");
    }
}
