//! A worker killed right before and right after each of its writes, while it expires and purges a table.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Catalog, SqlCatalog};
use metadata::{EntryStatus, Fields, read_manifest, read_manifest_list};
use model::{Action, JobId, JobStatus};
use serde_json::json;
use storage::Storage;
use testkit::Process;

use crate::lakehouse::{Lakehouse, WORKER};
use crate::proxy::Proxy;

/// More writes than the job has.
const CUTS_MAX: usize = 40;
/// Fewer than it has.
const CUTS_MIN: usize = 7;

/// The files of one table, as plain paths.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) reachable: BTreeSet<String>,
    there: BTreeSet<String>,
}

fn plain(path: &str) -> String {
    path.trim_start_matches("file://").to_owned()
}

impl Lakehouse {
    async fn expirable(&self, op: &str, tables: &[String]) -> BTreeMap<String, u64> {
        let tables: Vec<String> = tables.iter().map(|table| format!("db.{table}")).collect();
        let asked = json!({
            "op": op,
            "uri": self.database.url(),
            "catalog": "snowpack",
            "warehouse": self.warehouse(),
            "tables": tables,
        });
        let run = move || testkit::oracle("expirable_tables", &asked);
        let rows = tokio::task::spawn_blocking(run).await.unwrap();
        serde_json::from_value(rows).unwrap()
    }

    pub(crate) async fn files(&self, table: &str) -> Files {
        let pool = self.database.pool().await;
        let storage = Storage::local();
        let warehouse = self.warehouse();
        let catalog = SqlCatalog::open(
            "snowpack",
            pool.clone(),
            Some(&pool),
            &storage,
            Some(&warehouse),
        );
        let catalog = catalog.await.unwrap();
        let loaded = catalog
            .load(&format!("db.{table}").parse().unwrap())
            .await
            .unwrap();
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
        let mut there = BTreeSet::new();
        let folder = plain(document.location());
        crate::lakehouse::files_below(folder.as_ref(), &mut there);
        Files { reachable, there }
    }

    /// Paths the ledger knows: being written, waiting or kept.
    pub(crate) async fn known(&self) -> BTreeSet<String> {
        let sql = "select path from snowpack.attempt_files \
                   union select path from snowpack.pending_deletions where state <> 'deleted'";
        let client = self.database.client().await;
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| plain(row.get(0))).collect()
    }

    async fn open_intents(&self) -> i64 {
        let sql = "select count(*) from snowpack.expiry_intents where closed_at is null";
        let client = self.database.client().await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Nothing reachable is missing, and nothing else is there that nobody knows of.
    async fn nothing_is_lost(&self, table: &str, before: &Files, cut: &str) {
        let now = self.files(table).await;
        let missing: Vec<_> = now.reachable.difference(&now.there).collect();
        assert!(
            missing.is_empty(),
            "{cut}: reachable and gone: {missing:#?}"
        );
        let known = self.known().await;
        let intended = self.open_intents().await > 0;
        let stray: Vec<_> = now
            .there
            .difference(&now.reachable)
            .filter(|path| !known.contains(*path))
            .filter(|path| !(intended && before.reachable.contains(*path)))
            .collect();
        assert!(stray.is_empty(), "{cut}: nobody knows of {stray:#?}");
    }

    async fn expire_and_purge(&self, table: &str) -> JobId {
        let options = [("older_than", "4102444800000"), ("deletion-grace-ms", "0")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.submit_with(table, |asked| {
            asked.actions = vec![Action::PurgePending, Action::ExpireSnapshots];
            asked
                .options
                .insert(Action::ExpireSnapshots, options.into());
            asked.max_attempts = 9;
        })
        .await
    }

    /// Lets the lease run out and works the job off.
    async fn finish(&self, job: &JobId) {
        let client = self.database.client().await;
        testkit::until("the job is completed", async || {
            let sql = "update snowpack.job_queue set visible_at = now() - interval '1 second' \
                       where job_id = $1 and claimed_at is not null";
            client.execute(sql, &[&job.as_str()]).await.unwrap();
            self.work_off(&[], &[]).await;
            self.status(job).await == JobStatus::Completed
        })
        .await;
    }

    /// What only expired snapshots held is gone.
    async fn only_the_current_is_left(&self, table: &str, before: &Files, cut: &str) {
        let now = self.files(table).await;
        let left: Vec<_> = before
            .reachable
            .intersection(&now.there)
            .filter(|path| !now.reachable.contains(*path))
            .collect();
        assert!(left.is_empty(), "{cut}: still there: {left:#?}");
        let gone = before.reachable.difference(&now.there).count();
        assert!(
            gone >= 4,
            "{cut}: lists, manifests and a data file: only {gone} went"
        );
        assert_eq!(self.open_intents().await, 0, "{cut}");
    }

    fn worker_through(&self, proxy: &Proxy) -> Process {
        let warehouse = self.warehouse();
        let variables = [
            ("SNOWPACK_DATABASE_URL", proxy.url.as_str()),
            ("SNOWPACK_WAREHOUSE", &warehouse),
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0"),
        ];
        Process::start(WORKER, &variables, &["--exit-when-idle"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m12_m13_expired_files_go_with_the_job_that_expires_them_and_a_kill_at_any_write_loses_nothing()
 {
    let house = Lakehouse::new().await;
    let tables: Vec<String> = (0..2 * CUTS_MAX).map(|cut| format!("t{cut}")).collect();
    let mut made = 0;
    for (turn, table) in tables.iter().enumerate() {
        if turn == made {
            let next = &tables[made..(made + 20).min(2 * CUTS_MAX)];
            house.expirable("create", next).await;
            made += next.len();
        }
        let before = house.files(table).await;
        let (writes, after) = (turn / 2, turn % 2 == 1);
        let cut = format!(
            "killed {} write {writes}",
            if after { "after" } else { "before" }
        );
        let job = house.expire_and_purge(table).await;
        let proxy = Proxy::new(house.database.url(), writes, after).await;
        let worker = house.worker_through(&proxy);
        testkit::until("the worker is held or ends", async || {
            proxy.reached() || !worker.running()
        })
        .await;
        let unharmed = !proxy.reached();
        if !unharmed {
            worker.signal("KILL");
            worker.ended().await;
        }
        drop(proxy);
        house.nothing_is_lost(table, &before, &cut).await;
        house.finish(&job).await;
        house.nothing_is_lost(table, &before, &cut).await;
        house.only_the_current_is_left(table, &before, &cut).await;
        let done = house.job(&job).await;
        let rows = house.results(&job).await;
        assert_eq!(done.status, JobStatus::Completed, "{cut}");
        assert_eq!(
            rows,
            ["expire_snapshots done", "purge_pending done"],
            "{cut}"
        );
        if unharmed {
            assert!(writes > CUTS_MIN, "only {writes} writes: the job has more");
            let rows = house.expirable("rows", &tables[..=turn]).await;
            assert!(rows.values().all(|rows| *rows == 10), "{rows:?}");
            return;
        }
    }
    panic!("the job has more than {CUTS_MAX} writes");
}
