//! Runs beside each other, cut short, cut off, and told to stop: the row is always there.

use std::time::Duration;

use maintenance::runs::{self, Status};
use maintenance::settings as drain_mode;
use steward::orchestrate::{self, ABANDONED_AFTER};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, settings};

#[tokio::test(flavor = "multi_thread")]
async fn m25_two_runs_at_once_make_one_live_job_for_each_table_and_both_are_recorded() {
    let fleet = Fleet::new().await;
    fleet.many_sick(150).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = fleet.database.pool().await;
        running.spawn(async move {
            orchestrate::once(&pool, &settings(), &CancellationToken::new())
                .await
                .unwrap()
        });
    }
    let runs = running.join_all().await;
    let submitted: u32 = runs.iter().map(|run| run.counts.jobs_submitted).sum();
    assert_eq!(submitted, 150);
    assert_eq!(fleet.count("select count(*) from snowpack.jobs").await, 150);
    fleet.assert_one_live_job_each().await;
    for run in &runs {
        assert_eq!(run.status, Status::Completed, "{run:?}");
        assert_eq!(run.counts.tables_assessed, 150);
        for decided in fleet.decisions(run.id).await {
            assert!(
                ["due", "locked"].contains(&decided.reason.as_str()),
                "{decided:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m25_a_run_does_not_repeat_what_was_done_since_it_read_the_table() {
    let fleet = Fleet::new().await;
    fleet.sick("db.t").await;
    // A submission begins with a look at the settings: there the run is held, its tables read.
    let other = fleet.database.client().await;
    let hold = "begin; lock table snowpack.settings in access exclusive mode";
    other.batch_execute(hold).await.unwrap();
    let pool = fleet.pool.clone();
    let slow = tokio::spawn(async move {
        orchestrate::once(&pool, &settings(), &CancellationToken::new())
            .await
            .unwrap()
    });
    testkit::until("the slow run waits to submit", async || {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                     and datname = current_database()";
        fleet.count(waits).await == 1
    })
    .await;
    let came_and_went = "insert into snowpack.jobs (job_id, database_name, table_name, actions, \
                         dry_run, status, completed_at, submitted_by, request_hash) \
                         values ('other', 'db', 't', '{rewrite_data_files}', false, 'completed', \
                         now(), 'orchestrator', 'v1:'); commit";
    other.batch_execute(came_and_went).await.unwrap();
    let slow = slow.await.unwrap();
    assert_eq!(slow.status, Status::Completed);
    assert_eq!(fleet.told(&slow).await, ["db.t locked"]);
    assert_eq!(fleet.count("select count(*) from snowpack.jobs").await, 1);
    for empty in ["job_queue", "table_locks"] {
        let sql = format!("select count(*) from snowpack.{empty}");
        assert_eq!(fleet.count(&sql).await, 0, "{empty}");
    }
}

#[tokio::test]
async fn m28_a_drained_run_ends_well_and_every_decision_says_why() {
    let fleet = Fleet::new().await;
    fleet.many_sick(5).await;
    drain_mode::drain(&fleet.client, "alice", Some("storage moves"))
        .await
        .unwrap();
    let run = fleet.completed(&settings()).await;
    assert_eq!(
        (run.counts.jobs_submitted, run.counts.tables_skipped),
        (0, 5)
    );
    assert!(
        run.note
            .as_ref()
            .unwrap()
            .contains("drained by alice (storage moves)"),
        "{run:?}"
    );
    for decided in fleet.decisions(run.id).await {
        assert_eq!(decided.reason, "draining");
        assert!(decided.why.contains("alice"), "{decided:?}");
    }
    drain_mode::undrain(&fleet.client).await.unwrap();
    assert_eq!(fleet.completed(&settings()).await.counts.jobs_submitted, 5);
}

#[tokio::test]
async fn m28_a_drain_in_the_middle_leaves_the_rest_and_loses_nothing() {
    let fleet = Fleet::new().await;
    fleet.many_sick(40).await;
    // The drain comes with the tenth job.
    fleet
        .sql(
            "create function drain() returns trigger language plpgsql as $$ begin \
             if (select count(*) from snowpack.jobs) = 10 then \
             update snowpack.settings set drained_at = now(), drained_by = 'bob'; end if; \
             return null; end $$; \
             create trigger drain after insert on snowpack.jobs for each row execute function drain()",
        )
        .await;
    let run = fleet.completed(&settings()).await;
    assert_eq!(run.counts.jobs_submitted, 10);
    assert_eq!(run.counts.tables_skipped, 30);
    assert_eq!(
        fleet.count("select count(*) from snowpack.job_queue").await,
        10
    );
}

#[tokio::test]
async fn m28_a_run_whose_connection_is_cut_is_closed_as_failed_with_the_reason() {
    let fleet = Fleet::new().await;
    fleet.many_sick(40).await;
    fleet
        .sql(
            "create function cut() returns trigger language plpgsql as $$ begin \
             if (select count(*) from snowpack.jobs) = 10 then \
             perform pg_terminate_backend(pg_backend_pid()); end if; return null; end $$; \
             create trigger cut after insert on snowpack.jobs for each row execute function cut()",
        )
        .await;
    let run = fleet.run(&settings()).await;
    assert_eq!(run.status, Status::Failed);
    assert!(!run.error.clone().unwrap().is_empty());
    // Job and decision went together.
    assert_eq!(run.counts.jobs_submitted, 9);
    assert_eq!(fleet.count("select count(*) from snowpack.jobs").await, 9);
    fleet.sql("drop trigger cut on snowpack.jobs").await;
    let next = fleet.completed(&settings()).await;
    assert_eq!(next.counts.jobs_submitted, 31);
    fleet.assert_one_live_job_each().await;
}

#[tokio::test]
async fn m28_a_run_told_to_stop_is_closed_as_failed() {
    let fleet = Fleet::new().await;
    fleet.many_sick(3).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let run = orchestrate::once(&fleet.pool, &settings(), &stop)
        .await
        .unwrap();
    assert_eq!(run.status, Status::Failed);
    assert_eq!(
        run.error.as_deref(),
        Some("stopped by a signal before the end")
    );
    assert_eq!(fleet.count("select count(*) from snowpack.jobs").await, 0);
}

#[tokio::test]
async fn m28_a_run_refuses_a_cache_that_is_too_old_or_was_never_filled_and_says_so() {
    let fleet = Fleet::new().await;
    fleet.many_sick(3).await;
    fleet.cache_aged("61 minutes").await;
    let run = fleet.run(&settings()).await;
    assert_eq!(run.status, Status::Failed);
    let error = run.error.unwrap();
    assert!(error.contains("at most 3600 s are allowed"), "{error}");
    fleet
        .sql("update snowpack.table_cache_meta set last_synced_at = null")
        .await;
    let error = fleet.run(&settings()).await.error.unwrap();
    assert!(error.contains("never synced"), "{error}");
    assert_eq!(fleet.count("select count(*) from snowpack.jobs").await, 0);
}

#[tokio::test]
async fn m28_a_run_taken_for_dead_stops_and_the_one_that_closed_it_goes_on() {
    let fleet = Fleet::new().await;
    fleet.many_sick(120).await;
    // In the middle of its submissions, another run finds it silent for too long.
    fleet
        .sql(
            "create function bury() returns trigger language plpgsql as $$ begin \
             if (select count(*) from snowpack.jobs) = 60 then \
             update snowpack.orchestrator_runs set status = 'abandoned', completed_at = now(), \
             error = 'silent' where run_id = 1; end if; return null; end $$; \
             create trigger bury after insert on snowpack.jobs for each row execute function bury()",
        )
        .await;
    let run = fleet.run(&settings()).await;
    assert_eq!(run.status, Status::Abandoned);
    // It noticed within fifty submissions; what it did is counted all the same.
    assert_eq!(run.counts.jobs_submitted, 100);
    let next = fleet.completed(&settings()).await;
    assert_eq!(next.counts.jobs_submitted, 20);
}

#[tokio::test]
async fn m28_the_next_run_closes_what_a_dead_one_left_open() {
    let fleet = Fleet::new().await;
    fleet.many_sick(2).await;
    let (dead, _) = runs::open(&fleet.client, false, "dead", &serde_json::json!({}))
        .await
        .unwrap();
    let (alive, _) = runs::open(&fleet.client, false, "alive", &serde_json::json!({}))
        .await
        .unwrap();
    let past = ABANDONED_AFTER + Duration::from_secs(1);
    fleet
        .sql(&format!(
            "update snowpack.orchestrator_runs set seen_at = now() - interval '{} s' where run_id = {dead}",
            past.as_secs()
        ))
        .await;
    fleet.completed(&settings()).await;
    let status = async |id| runs::get(&fleet.client, id).await.unwrap().unwrap().status;
    assert_eq!(
        (status(dead).await, status(alive).await),
        (Status::Abandoned, Status::Running)
    );
}
