//! Everything a run would look at is explained, and why it would decide as it does.

use std::time::Duration;

use maintenance::runs::Choice;
use policy::Source;
use queue::End;
use steward::explain::{Explanation, explain};

use crate::fleet::{Fleet, failed, settings, table};

async fn of(fleet: &Fleet, name: &str) -> Explanation {
    let settings = settings();
    let hour = Duration::from_hours(1);
    explain(&fleet.pool, &settings.defaults, hour, &table(name))
        .await
        .unwrap()
}

#[tokio::test]
async fn m25_what_a_run_decides_is_what_explain_says_before_it() {
    let mut fleet = Fleet::new().await;
    fleet.sick("db.t").await;
    fleet.due_deletion("db.t").await;
    for want in ["due", "locked"] {
        let before = of(&fleet, "db.t").await;
        let run = fleet.completed(&settings()).await;
        let decided = fleet.decisions(run.id).await.remove(0);
        assert_eq!(before.decision.reason, want);
        assert_eq!(
            (before.decision.reason, before.decision.why),
            (decided.reason, decided.why)
        );
    }
    let told = of(&fleet, "db.t").await;
    assert_eq!(told.decisions.len(), 2);
    let job = told.decisions[1].job.clone().unwrap();
    assert_eq!(told.history.locked_by.as_deref(), Some(job.as_str()));
    assert_eq!(told.history.due_deletion_count, 1);
    fleet.end(&job, &End::completed()).await;
    let told = of(&fleet, "db.t").await;
    assert_eq!(
        (told.history.locked_by, told.history.failures_in_a_row),
        (None, 0)
    );
    assert!(told.history.last_completed_ms.is_some());
    assert_eq!(
        told.decision.decision,
        Choice::Submit,
        "the purge is due still"
    );
}

#[tokio::test]
async fn m27_each_value_is_told_with_its_source_and_what_cannot_be_read_is_named() {
    let fleet = Fleet::new().await;
    let own = [
        ("snowpack.maintenance_cadence_hours", "12"),
        ("snowpack.min_input_files", "lots"),
        ("snowpack.min_inptu_files", "3"),
    ];
    let database = [("snowpack.max_snapshot_age_days", "9")];
    fleet.cached("db.t", &own, &database).await;
    let policy = of(&fleet, "db.t").await.policy.unwrap();
    assert_eq!(policy.maintenance_cadence_hours.value.to_string(), "12");
    assert_eq!(policy.maintenance_cadence_hours.source, Source::Table);
    assert_eq!(policy.max_snapshot_age_days.source, Source::Database);
    assert_eq!(
        (policy.min_input_files.value, policy.min_input_files.source),
        (5, Source::Default)
    );
    assert_eq!(policy.unreadable[0].property, "snowpack.min_input_files");
    assert_eq!(policy.unknown[0].nearest, "snowpack.min_input_files");
}

#[tokio::test]
async fn m25_a_table_the_cache_does_not_hold_is_explained_too() {
    let mut fleet = Fleet::new().await;
    let told = of(&fleet, "db.nowhere").await;
    assert_eq!(told.decision.reason, "unknown");
    assert!(
        told.decision.why.contains("SNOWPACK_TABLES_INCLUDE"),
        "{}",
        told.decision.why
    );
    assert_eq!(
        (told.inventory, told.policy, told.health),
        (None, None, None)
    );
    fleet
        .sql("update snowpack.table_cache_meta set last_synced_at = null")
        .await;
    let told = of(&fleet, "db.nowhere").await;
    assert_eq!(told.decision.why, "the table cache was never synced");
    // What happened to it stays known.
    fleet.sick("db.dropped").await;
    fleet.cache_aged("0 s").await;
    let run = fleet.completed(&settings()).await;
    let job = fleet.job(&run, "db.dropped").await.unwrap();
    fleet.end(&job, &failed()).await;
    fleet.sql("delete from snowpack.table_cache_entries").await;
    let told = of(&fleet, "db.dropped").await;
    assert_eq!(told.decision.reason, "unknown");
    assert_eq!(
        (told.history.failures_in_a_row, told.decisions.len()),
        (1, 1)
    );
    assert_eq!(
        told.decisions[0].job_error.as_deref(),
        Some("the file is not there")
    );
}
