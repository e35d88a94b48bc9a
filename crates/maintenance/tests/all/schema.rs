//! The schema is the seed's, repeats the enums, and is made once however often it is asked for.

use std::collections::BTreeSet;

use maintenance::deletions::State;
use maintenance::runs;
use model::{Action, ActionOutcome, EndReason, JobStatus};
use testkit::Database;

use crate::lane::Lane;

/// Seed 000, `DESIGN`: table, its columns with their types, its primary key.
const SEED: &[(&str, &str, &str)] = &[
    (
        "jobs",
        "job_id text!, database_name text!, table_name text!, actions text[]!, dry_run boolean!, \
         status text!, submitted_at timestamptz!, started_at timestamptz, completed_at \
         timestamptz, error text, attempt_id text, deleted_at timestamptz, created_at timestamptz",
        "job_id",
    ),
    (
        "job_queue",
        "job_id text!, enqueued_at timestamptz!, visible_at timestamptz!, claimed_at timestamptz, \
         claimed_by text, attempt_id text, attempt_count integer!",
        "job_id",
    ),
    (
        "job_actions",
        "job_id text!, action text!, success boolean!, error text, message text, \
         elapsed_seconds real!, created_at timestamptz!",
        "job_id, action, created_at",
    ),
    (
        "table_locks",
        "table_key text!, holder text!, acquired_at timestamptz!, expires_at timestamptz!",
        "table_key",
    ),
    (
        "table_cache_entries",
        "database_name text!, table_name text!, maintenance_enabled boolean, payload jsonb",
        "database_name, table_name",
    ),
    (
        "table_cache_meta",
        "id integer!, last_synced_at timestamptz",
        "id",
    ),
    ("health_snapshots", "payload jsonb!", "health_snapshot_id"),
    ("orchestrator_runs", "payload jsonb!", "run_id"),
];

#[tokio::test]
async fn the_seeds_tables_have_the_seeds_columns_and_keys() {
    let lane = Lane::new().await;
    for (table, columns, key) in SEED {
        let sql = "select a.attname || ' ' || replace(format_type(a.atttypid, a.atttypmod), \
                   'timestamp with time zone', 'timestamptz') || \
                   case when a.attnotnull then '!' else '' end \
                   from pg_attribute a where a.attrelid = ('snowpack.' || $1)::regclass \
                   and a.attnum > 0 and not a.attisdropped";
        let rows = lane.client.query(sql, &[table]).await.unwrap();
        let found: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        for column in columns.split(", ") {
            assert!(
                found.contains(column),
                "{table}: `{column}` is not among {found:?}"
            );
        }
        let sql = "select pg_get_constraintdef(oid) from pg_constraint \
                   where conrelid = ('snowpack.' || $1)::regclass and contype = 'p'";
        let primary: String = lane.client.query_one(sql, &[table]).await.unwrap().get(0);
        assert_eq!(primary, format!("PRIMARY KEY ({key})"), "{table}");
    }
}

#[tokio::test]
async fn the_seeds_indexes_and_references_are_there() {
    let lane = Lane::new().await;
    let definition = async |name: &str| -> String {
        let sql = "select pg_get_indexdef(('snowpack.' || $1)::regclass)";
        lane.client.query_one(sql, &[&name]).await.unwrap().get(0)
    };
    let visible = definition("idx_jobs_visible").await;
    assert!(visible.ends_with("WHERE (deleted_at IS NULL)"), "{visible}");
    let ready = definition("idx_job_queue_ready").await;
    assert!(ready.ends_with("(claimed_at, visible_at)"), "{ready}");
    for table in ["job_queue", "job_actions"] {
        let sql = "select pg_get_constraintdef(oid) from pg_constraint \
                   where conrelid = ('snowpack.' || $1)::regclass and contype = 'f'";
        let reference: String = lane.client.query_one(sql, &[&table]).await.unwrap().get(0);
        assert!(
            reference.contains("REFERENCES snowpack.jobs(job_id)"),
            "{table}: {reference}"
        );
    }
    let sql = "select reloptions::text from pg_class where oid = 'snowpack.jobs'::regclass";
    let options: String = lane.client.query_one(sql, &[]).await.unwrap().get(0);
    assert!(options.contains("fillfactor=50"), "{options}");
}

#[tokio::test]
async fn check_constraints_list_what_the_enums_list() {
    let lane = Lane::new().await;
    let check = async |constraint: &str, want: Vec<&str>| {
        let sql = "select pg_get_constraintdef(oid) from pg_constraint where conname = $1";
        let text: String = lane
            .client
            .query_one(sql, &[&constraint])
            .await
            .unwrap()
            .get(0);
        let got: BTreeSet<&str> = text.split('\'').skip(1).step_by(2).collect();
        assert_eq!(got, want.into_iter().collect(), "{constraint}: {text}");
    };
    let actions: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    check(
        "jobs_status_check",
        JobStatus::ALL.iter().map(|s| s.as_str()).collect(),
    )
    .await;
    check(
        "jobs_reason_check",
        EndReason::ALL.iter().map(|s| s.as_str()).collect(),
    )
    .await;
    check("jobs_actions_check", actions.clone()).await;
    check("job_actions_action_check", actions).await;
    check(
        "job_actions_outcome_check",
        ActionOutcome::ALL.iter().map(|s| s.as_str()).collect(),
    )
    .await;
    check(
        "job_actions_success_check",
        ActionOutcome::ALL
            .iter()
            .filter(|o| o.success())
            .map(|o| o.as_str())
            .collect(),
    )
    .await;
    check(
        "jobs_completed_check",
        JobStatus::ALL
            .iter()
            .filter(|s| s.terminal())
            .map(|s| s.as_str())
            .collect(),
    )
    .await;
    let kinds = vec!["data", "deletes", "manifest", "manifest_list", "metadata"];
    check("attempt_files_kind_check", kinds).await;
    let states = State::ALL.iter().map(|state| state.as_str()).collect();
    check("pending_deletions_state_check", states).await;
    let statuses = runs::Status::ALL.iter().map(|s| s.as_str()).collect();
    check("orchestrator_runs_status_check", statuses).await;
    let choices = runs::Choice::ALL.iter().map(|c| c.as_str()).collect();
    check("orchestrator_decisions_decision_check", choices).await;
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let first = maintenance::migrate(&pool).await.unwrap();
    assert_eq!(first.version, maintenance::SCHEMA_VERSION);
    assert_eq!(first.applied, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let second = maintenance::migrate(&pool).await.unwrap();
    assert_eq!(
        (second.version, second.applied),
        (maintenance::SCHEMA_VERSION, vec![])
    );
    let client = database.client().await;
    let sql = "select count(*) from snowpack.schema_migrations where oldest_binary_schema = 1";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        9
    );
}

#[tokio::test]
async fn several_migrators_at_once_apply_each_migration_once() {
    let database = Database::empty().await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let pool = database.pool().await;
        running.spawn(async move { maintenance::migrate(&pool).await.unwrap().applied });
    }
    let mut applied: Vec<i32> = running.join_all().await.concat();
    applied.sort_unstable();
    assert_eq!(applied, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}
