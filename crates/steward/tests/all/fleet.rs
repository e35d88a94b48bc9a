//! Tables as the table cache and the newest health tell of them, and runs over them.

use std::time::Duration;

use maintenance::Submission;
use maintenance::runs::{self, Decided, Filter, Run, RunId};
use model::health::{Facts, Rival};
use model::{Action, EndReason, JobId, TableName};
use pg::Pool;
use policy::Defaults;
use queue::End;
use serde_json::json;
use steward::health::Payload;
use steward::orchestrate::{self, Settings};
use testkit::Database;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

pub(crate) const LEASE: Duration = Duration::from_mins(1);

pub(crate) struct Fleet {
    pub(crate) database: Database,
    pub(crate) pool: Pool,
    pub(crate) client: Client,
}

pub(crate) fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

/// Many small files.
pub(crate) fn neglected() -> Facts {
    let mut facts = healthy();
    facts.file_stats.small_file_count = 900;
    facts.file_stats.compactable_file_count = 900;
    facts.file_stats.compactable_bytes = 9_000_000;
    facts
}

pub(crate) fn healthy() -> Facts {
    let mut facts = Facts {
        format_version: 2,
        total_records: 1_000_000,
        snapshot_count: 3,
        manifest_count: 1,
        ..Facts::default()
    };
    facts.file_stats.total_data_files = 1_000;
    facts.file_stats.total_size_bytes = 500_000_000_000;
    facts.file_stats.target_file_size_bytes = 536_870_912;
    facts
}

/// Another maintainer rewrote it just now.
pub(crate) fn rivalled(at_ms: i64) -> Facts {
    Facts {
        rival: Some(Rival {
            name: "nightly spark".to_owned(),
            snapshot_id: 7,
            at_ms,
        }),
        ..neglected()
    }
}

/// All tables enrolled unless they say no, no budget, nothing waited for.
pub(crate) fn settings() -> Settings {
    Settings {
        defaults: Defaults {
            enrolment: policy::Enrolment::OptOut,
            ..Defaults::default()
        },
        budget: policy::Budget::default(),
        dry_run: false,
        wait: None,
        cache_age_max: Duration::from_hours(1),
        triggered_by: "test".to_owned(),
    }
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let fleet = Self {
            pool: database.pool().await,
            client: database.client().await,
            database,
        };
        fleet.cache_aged("0 seconds").await;
        fleet
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// One number.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn cache_aged(&self, interval: &str) {
        self.sql(&format!(
            "update snowpack.table_cache_meta set last_synced_at = now() - interval '{interval}'"
        ))
        .await;
    }

    /// Puts a table into the cache, with its own and its database's properties.
    pub(crate) async fn cached(&self, name: &str, own: &[(&str, &str)], database: &[(&str, &str)]) {
        let name = table(name);
        let properties = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
        };
        let payload = json!({
            "table_uuid": uuid(&name),
            "metadata_location": "file:///m.json",
            "properties": properties(own),
            "database_properties": properties(database),
            "rule": "*",
        });
        let sql = "insert into snowpack.table_cache_entries (database_name, table_name, payload) \
                   values ($1, $2, $3)";
        self.client
            .execute(sql, &[&name.database(), &name.table(), &payload])
            .await
            .unwrap();
    }

    /// Stores an assessment as a health sync would.
    pub(crate) async fn assessed(&self, name: &str, facts: Facts) {
        let name = table(name);
        let facts = Facts {
            table_uuid: uuid(&name),
            ..facts
        };
        let nothing = policy::Properties::new();
        let effective = policy::effective(&Defaults::default(), &nothing, &nothing);
        let assessment = policy::assess(&facts, &effective);
        let payload = Payload {
            needs_maintenance: assessment.needs_maintenance,
            recommended_actions: assessment.recommended.iter().map(|r| r.action).collect(),
            facts: facts.clone(),
            assessment,
        };
        let stored = maintenance::health::Assessed {
            table: &name,
            facts: &facts,
            score: payload.assessment.score,
            needs_maintenance: payload.needs_maintenance,
            recommended: &payload.recommended_actions,
            payload: &serde_json::to_value(&payload).unwrap(),
        };
        maintenance::health::store(&self.client, &stored, true)
            .await
            .unwrap();
    }

    /// A table that wants its files rewritten.
    pub(crate) async fn sick(&self, name: &str) {
        self.cached(name, &[], &[]).await;
        self.assessed(name, neglected()).await;
    }

    /// `count` of them in database `db`: `t0`, `t1`, ..
    pub(crate) async fn many_sick(&self, count: u32) {
        self.sick("db.t0").await;
        self.sql(&format!(
            "insert into snowpack.table_cache_entries (database_name, table_name, payload) \
             select database_name, 't' || n, payload || jsonb_build_object('table_uuid', 'db.t' || n) \
             from snowpack.table_cache_entries, generate_series(1, {count} - 1) n \
             where table_name = 't0'; \
             insert into snowpack.table_health (database_name, table_name, payload, score, assessed_at) \
             select database_name, 't' || n, payload || jsonb_build_object('table_uuid', 'db.t' || n), \
             score, assessed_at from snowpack.table_health, generate_series(1, {count} - 1) n \
             where table_name = 't0'"
        ))
        .await;
    }

    /// Lists one file of the table whose deletion is due.
    pub(crate) async fn due_deletion(&self, name: &str) {
        let name = table(name);
        let sql = "insert into snowpack.pending_deletions (catalog, database_name, table_name, \
                   table_uuid, path, reason, job_id, delete_after) \
                   values ('c', $1, $2, $3, 'f/1', 'expired', 'j', now() - interval '1 s')";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&name.database(), &name.table(), &uuid(&name)];
        self.client.execute(sql, &params).await.unwrap();
    }

    pub(crate) async fn run(&self, settings: &Settings) -> Run {
        orchestrate::once(&self.pool, settings, &CancellationToken::new())
            .await
            .unwrap()
    }

    /// A run that completes.
    pub(crate) async fn completed(&self, settings: &Settings) -> Run {
        let run = self.run(settings).await;
        assert_eq!(run.status, runs::Status::Completed, "{run:?}");
        run
    }

    /// Every decision of a run, by table.
    pub(crate) async fn decisions(&self, run: RunId) -> Vec<Decided> {
        let mut all: Vec<Decided> = Vec::new();
        loop {
            let after = all
                .last()
                .map(|last| (last.database.clone(), last.table.clone()));
            let filter = Filter {
                after,
                limit: 1_000,
                ..Filter::default()
            };
            let page = runs::decisions(&self.client, run, &filter).await.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// `db.t due`, a line for each decision.
    pub(crate) async fn told(&self, run: &Run) -> Vec<String> {
        let decisions = self.decisions(run.id).await;
        let line = |one: &Decided| format!("{}.{} {}", one.database, one.table, one.reason);
        decisions.iter().map(line).collect()
    }

    /// The job a run submitted for a table.
    pub(crate) async fn job(&self, run: &Run, name: &str) -> Option<JobId> {
        let name = table(name);
        let decisions = self.decisions(run.id).await;
        let of = decisions
            .into_iter()
            .find(|one| one.database == name.database() && one.table == name.table());
        of.and_then(|one| one.job)
    }

    /// Somebody else's job.
    pub(crate) async fn submit(&mut self, name: &str) -> JobId {
        let tx = self.client.transaction().await.unwrap();
        let asked = Submission::new(table(name), rewrite(), "somebody");
        let submitted = maintenance::submit(&tx, &asked).await.unwrap();
        tx.commit().await.unwrap();
        submitted.job().clone()
    }

    /// Claims a job and ends it.
    pub(crate) async fn end(&mut self, job: &JobId, end: &End) {
        let queue = maintenance::queue();
        let claimed = queue
            .claim_one(&self.client, job, LEASE, "test")
            .await
            .unwrap();
        let claimed = claimed.unwrap_or_else(|| panic!("{job} could not be claimed"));
        let tx = self.client.transaction().await.unwrap();
        queue
            .finish(&tx, claimed.fence.for_retry(), end)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Moves all that happened to the past.
    pub(crate) async fn hours_pass(&self, hours: u32) {
        self.sql(&format!(
            "update snowpack.jobs set submitted_at = submitted_at - interval '{hours} h', \
             completed_at = completed_at - interval '{hours} h', \
             started_at = started_at - interval '{hours} h'; \
             update snowpack.orchestrator_decisions \
             set decided_at = decided_at - interval '{hours} h'"
        ))
        .await;
    }

    /// One live job at most, for each table.
    pub(crate) async fn assert_one_live_job_each(&self) {
        let twice = "select count(*) from (select from snowpack.jobs where completed_at is null \
                     group by database_name, table_name having count(*) > 1) as twice";
        assert_eq!(self.count(twice).await, 0);
    }
}

pub(crate) fn uuid(name: &TableName) -> String {
    name.key()
}

pub(crate) fn failed() -> End {
    End::failed(EndReason::ActionFailed, "the file is not there")
}

pub(crate) fn rewrite() -> Vec<Action> {
    vec![Action::RewriteDataFiles]
}
