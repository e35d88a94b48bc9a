//! One pass puts everything away that is old, whoever runs it beside.

use maintenance::inventory::{self, Filter};
use steward::retention::{Retained, RetentionArgs, once};

use crate::inventory::Rig;

const ARGS: RetentionArgs = RetentionArgs {
    retention_days: 30,
    history_retention_days: 730,
    health_retention_days: 90,
    runs_retention_days: 90,
};

#[tokio::test]
async fn m30_passes_side_by_side_put_each_old_record_away_once() {
    let rig = Rig::new(&[]).await;
    let sql = "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, status, \
               submitted_at, completed_at, submitted_by, request_hash) \
               select 'job' || n, 'db', 't', '{purge_pending}', false, 'completed', \
               now() - n * interval '1 day', now() - n * interval '1 day', 'test', 'v1:' \
               from generate_series(1, 1500) n; \
               insert into snowpack.health_snapshots (database_name, table_name, assessed_at, payload) \
               select 'db', 't', now() - n * interval '1 day', '{}' from generate_series(1, 1200) n";
    rig.client.batch_execute(sql).await.unwrap();
    let passes = (0..3).map(|_| once(&rig.pool, &ARGS));
    let mut all = Retained::default();
    for pass in futures::future::join_all(passes).await {
        let pass = pass.unwrap();
        all.jobs_archived += pass.jobs_archived;
        all.jobs_deleted += pass.jobs_deleted;
        all.health_deleted += pass.health_deleted;
    }
    // What one passes over because another is at it may be left to the next pass.
    let last = once(&rig.pool, &ARGS).await.unwrap();
    all.jobs_archived += last.jobs_archived;
    all.jobs_deleted += last.jobs_deleted;
    all.health_deleted += last.health_deleted;
    assert_eq!(
        (all.jobs_archived, all.jobs_deleted, all.health_deleted),
        (1_471, 771, 1_111)
    );
    assert_eq!(rig.count("select count(*) from snowpack.jobs").await, 29);
    assert_eq!(
        rig.count("select count(*) from snowpack.job_history").await,
        700
    );
    assert_eq!(
        rig.count("select count(*) from snowpack.health_snapshots")
            .await,
        89
    );
    assert_eq!(once(&rig.pool, &ARGS).await.unwrap(), Retained::default());
}

#[tokio::test]
async fn m20_tables_are_listed_by_database_enrolment_and_health_in_pages() {
    let rig = Rig::new(&["a.t1", "a.t2", "b.t1", "b.t2", "b.t3"]).await;
    rig.shelf
        .put("a.t2", &[("snowpack.maintenance_enabled", "true")]);
    rig.shelf
        .put("b.t2", &[("snowpack.maintenance_enabled", "false")]);
    rig.sync().await;
    let sql = "insert into snowpack.table_health (database_name, table_name, score, payload) values \
               ('a', 't1', 20, '{}'), ('a', 't2', 90, '{}'), ('b', 't3', 49.5, '{}')";
    rig.client.batch_execute(sql).await.unwrap();
    let check = async |filter: Filter, want: &[&str]| {
        let (mut filter, mut seen) = (Filter { limit: 2, ..filter }, Vec::new());
        loop {
            let page = inventory::list(&rig.client, &filter).await.unwrap();
            let Some(last) = page.last() else { break };
            filter.after = Some(last.table.clone());
            seen.extend(page.iter().map(|entry| entry.table.key()));
        }
        assert_eq!(seen, want, "{filter:?}");
    };
    check(Filter::default(), &["a.t1", "a.t2", "b.t1", "b.t2", "b.t3"]).await;
    let (database, health_below) = (Some("b".to_owned()), Some(50.0));
    let of_database = Filter {
        database: database.clone(),
        ..Filter::default()
    };
    check(of_database, &["b.t1", "b.t2", "b.t3"]).await;
    for (enabled, want) in [(true, "a.t2"), (false, "b.t2")] {
        let filter = Filter {
            maintenance_enabled: Some(enabled),
            ..Filter::default()
        };
        check(filter, &[want]).await;
    }
    let below = Filter {
        health_below,
        ..Filter::default()
    };
    check(below, &["a.t1", "b.t3"]).await;
    let both = Filter {
        database,
        health_below,
        ..Filter::default()
    };
    check(both, &["b.t3"]).await;
    assert_eq!(rig.entry("a.t1").await.score, Some(20.0));
}
