//! Runs are opened, seen, closed or abandoned; their decisions and counters stay true.

use std::time::Duration;

use maintenance::runs::{self, Choice, Close, Counts, Decision, Filter, Report, RunId, Status};
use maintenance::{Error, jobs};
use model::{Action, EndReason, JobId, JobStatus};
use queue::End;
use serde_json::json;

use crate::lane::Lane;

const STALE: Duration = Duration::from_mins(5);

async fn open(lane: &Lane) -> RunId {
    runs::open(&lane.client, false, "test", &json!({"budget": {}}))
        .await
        .unwrap()
        .0
}

async fn run(lane: &Lane, id: RunId) -> runs::Run {
    runs::get(&lane.client, id).await.unwrap().unwrap()
}

fn skip(table: &str, reason: &str) -> Decision {
    Decision {
        database: "db".to_owned(),
        table: table.to_owned(),
        choice: Choice::Skip,
        reason: reason.to_owned(),
        why: format!("it is {reason}"),
        actions: Vec::new(),
        job: None,
        score: Some(87.5),
    }
}

fn submit(table: &str, job: Option<&JobId>) -> Decision {
    Decision {
        choice: Choice::Submit,
        actions: vec![Action::ExpireSnapshots, Action::RewriteDataFiles],
        job: job.cloned(),
        ..skip(table, "due")
    }
}

fn done() -> Close {
    Close {
        error: None,
        note: None,
        payload: json!({"gb_hours": 1.5}),
    }
}

/// As if its process had died ten minutes ago.
async fn die(lane: &Lane, id: RunId) {
    let sql = "update snowpack.orchestrator_runs set seen_at = now() - interval '10 minutes' \
               where run_id = $1";
    assert_eq!(lane.client.execute(sql, &[&id.0]).await.unwrap(), 1);
}

#[tokio::test]
async fn m28_a_run_counts_its_decisions_when_it_is_closed() {
    let mut lane = Lane::new().await;
    let id = open(&lane).await;
    let job = lane.submit("db.a").await;
    let made = [
        submit("a", Some(&job)),
        submit("b", None),
        skip("c", "healthy"),
        skip("d", "healthy"),
        skip("e", "opted_out"),
    ];
    runs::record(&lane.client, id, &made).await.unwrap();
    let open = run(&lane, id).await;
    assert_eq!((open.status, open.completed_at), (Status::Running, None));
    runs::close(&lane.client, id, &done()).await.unwrap();
    let closed = run(&lane, id).await;
    assert_eq!(closed.status, Status::Completed);
    assert!(closed.completed_at.unwrap() >= closed.started_at);
    assert_eq!(closed.payload, json!({"budget": {}, "gb_hours": 1.5}));
    assert_eq!(
        closed.counts,
        Counts {
            tables_assessed: 5,
            tables_skipped: 1,
            tables_healthy: 2,
            jobs_submitted: 1,
            jobs_completed: 0,
            jobs_failed: 0,
        }
    );
    assert!(matches!(
        runs::close(&lane.client, id, &done()).await,
        Err(Error::RunClosed(closed)) if closed == id
    ));
}

#[tokio::test]
async fn m28_a_runs_jobs_are_counted_whenever_they_end() {
    let mut lane = Lane::new().await;
    let id = open(&lane).await;
    let mut ids = Vec::new();
    for table in ["a", "b", "c", "d"] {
        let job = lane.submit(&format!("db.{table}")).await;
        let made = [submit(table, Some(&job))];
        runs::record(&lane.client, id, &made).await.unwrap();
        ids.push(job);
    }
    runs::close(&lane.client, id, &done()).await.unwrap();
    let ends = [
        End::completed(),
        End::failed(EndReason::ActionFailed, "no"),
        End::completed(),
        End::cancelled(),
    ];
    let counted = async |lane: &Lane| {
        let counts = run(lane, id).await.counts;
        [
            counts.jobs_submitted,
            counts.jobs_completed,
            counts.jobs_failed,
        ]
    };
    for (end, want) in ends
        .iter()
        .zip([[4, 1, 0], [4, 1, 1], [4, 2, 1], [4, 2, 1]])
    {
        let claimed = lane.claim(&ids.remove(0)).await;
        lane.finish(&claimed, end).await.unwrap();
        assert_eq!(counted(&lane).await, want);
        // Half-way or at the end, settling changes nothing that is shown.
        assert_eq!(runs::settle(&lane.client).await.unwrap(), 1);
        assert_eq!(counted(&lane).await, want);
    }
    assert_eq!(
        runs::settle(&lane.client).await.unwrap(),
        0,
        "all have ended"
    );
    let gone = "update snowpack.jobs set deleted_at = now(); delete from snowpack.jobs";
    lane.client.batch_execute(gone).await.unwrap();
    assert_eq!(counted(&lane).await, [4, 2, 1], "kept beyond the jobs");
}

#[tokio::test]
async fn m28_jobs_moved_to_the_history_are_counted_too() {
    let mut lane = Lane::new().await;
    let id = open(&lane).await;
    let job = lane.submit("db.a").await;
    runs::record(&lane.client, id, &[submit("a", Some(&job))])
        .await
        .unwrap();
    runs::close(&lane.client, id, &done()).await.unwrap();
    let claimed = lane.claim(&job).await;
    lane.finish(&claimed, &End::failed(EndReason::ActionFailed, "no"))
        .await
        .unwrap();
    let moved = "insert into snowpack.job_history (job_id, database_name, table_name, status, \
                 submitted_at, completed_at, submitted_by, record, actions) \
                 select job_id, database_name, table_name, status, submitted_at, completed_at, \
                 submitted_by, to_jsonb(jobs), '[]' from snowpack.jobs; \
                 delete from snowpack.jobs";
    lane.client.batch_execute(moved).await.unwrap();
    assert_eq!(run(&lane, id).await.counts.jobs_failed, 1);
    assert_eq!(runs::settle(&lane.client).await.unwrap(), 1);
    assert_eq!(run(&lane, id).await.counts.jobs_failed, 1);
    let decided = runs::submitted(&lane.client, id, 10).await.unwrap();
    assert_eq!(decided[0].job_status, Some(JobStatus::Failed));
    assert_eq!(decided[0].job_error.as_deref(), Some("no"));
}

#[tokio::test]
async fn m28_a_run_nobody_has_seen_is_closed_by_the_next_and_one_that_lives_is_not() {
    let mut lane = Lane::new().await;
    let (dead, live, closed) = (open(&lane).await, open(&lane).await, open(&lane).await);
    let job = lane.submit("db.a").await;
    let made = [submit("a", Some(&job)), skip("b", "healthy")];
    runs::record(&lane.client, dead, &made).await.unwrap();
    runs::close(&lane.client, closed, &done()).await.unwrap();
    for id in [dead, live, closed] {
        die(&lane, id).await;
    }
    runs::seen(&lane.client, live).await.unwrap();
    let found = runs::abandon_stale(&lane.client, STALE).await.unwrap();
    assert_eq!(found, [dead]);
    let abandoned = run(&lane, dead).await;
    assert_eq!(abandoned.status, Status::Abandoned);
    assert!(abandoned.error.unwrap().contains("nothing was heard of it"));
    assert_eq!(abandoned.counts.tables_assessed, 2);
    assert_eq!(abandoned.counts.tables_healthy, 1);
    assert_eq!(abandoned.counts.jobs_submitted, 1);
    assert_eq!(run(&lane, live).await.status, Status::Running);
    assert_eq!(run(&lane, closed).await.status, Status::Completed);
    // It was only frozen: it learns that it is over.
    for gone in [
        runs::seen(&lane.client, dead).await,
        runs::close(&lane.client, dead, &done()).await,
    ] {
        assert!(
            matches!(gone, Err(Error::RunClosed(id)) if id == dead),
            "{gone:?}"
        );
    }
    assert_eq!(runs::abandon_stale(&lane.client, STALE).await.unwrap(), []);
}

#[tokio::test]
async fn m28_two_runs_that_close_an_abandoned_one_close_it_once() {
    let lane = Lane::new().await;
    let mut dead = Vec::new();
    for _ in 0..20 {
        let id = open(&lane).await;
        die(&lane, id).await;
        dead.push(id);
    }
    let mut closers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = lane.database.client().await;
        closers.spawn(async move { runs::abandon_stale(&client, STALE).await.unwrap() });
    }
    let mut closed: Vec<RunId> = closers.join_all().await.concat();
    closed.sort_unstable();
    assert_eq!(closed, dead);
}

#[tokio::test]
async fn m28_a_failed_run_says_why_and_pages_are_newest_first() {
    let lane = Lane::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let id = open(&lane).await;
        let how = Close {
            error: (n == 3).then(|| "the catalog went away".to_owned()),
            note: (n == 2).then(|| "drained".to_owned()),
            payload: json!({}),
        };
        runs::close(&lane.client, id, &how).await.unwrap();
        ids.insert(0, id);
    }
    let mut listed = Vec::new();
    loop {
        let before = listed.last().map(|run: &runs::Run| run.id);
        let page = runs::list(&lane.client, before, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), ids);
    assert_eq!(listed[1].status, Status::Failed);
    assert_eq!(listed[1].error.as_deref(), Some("the catalog went away"));
    assert_eq!(listed[2].note.as_deref(), Some("drained"));
    assert_eq!(runs::get(&lane.client, RunId(0)).await.unwrap(), None);
}

#[tokio::test]
async fn m28_decisions_are_paged_by_table_filtered_and_listed_per_table() {
    let mut lane = Lane::new().await;
    let (first, second) = (open(&lane).await, open(&lane).await);
    let job = lane.submit("db.t7").await;
    let mut made: Vec<Decision> = (0..10).map(|n| skip(&format!("t{n}"), "healthy")).collect();
    made[3].reason = "opted_out".to_owned();
    runs::record(&lane.client, first, &made).await.unwrap();
    made[7] = submit("t7", Some(&job));
    made.reverse();
    runs::record(&lane.client, second, &made).await.unwrap();

    let mut filter = Filter {
        limit: 4,
        ..Filter::default()
    };
    let mut names = Vec::new();
    loop {
        let page = runs::decisions(&lane.client, second, &filter)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some((last.database.clone(), last.table.clone()));
        names.extend(page.into_iter().map(|decided| decided.table));
    }
    assert_eq!(names, (0..10).map(|n| format!("t{n}")).collect::<Vec<_>>());

    let filter = Filter {
        choice: Some(Choice::Skip),
        reason: Some("opted_out".to_owned()),
        after: None,
        limit: 10,
    };
    let found = runs::decisions(&lane.client, second, &filter)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].table.as_str(), found[0].why.as_str()),
        ("t3", "it is healthy")
    );

    let of = runs::of_table(&lane.client, "db", "t7", None, 10)
        .await
        .unwrap();
    assert_eq!(
        of.iter().map(|d| d.run).collect::<Vec<_>>(),
        [second, first]
    );
    assert_eq!(of[0].choice, Choice::Submit);
    assert_eq!(of[0].actions, ["expire_snapshots", "rewrite_data_files"]);
    assert_eq!(
        (&of[0].job, of[0].job_status),
        (&Some(job), Some(JobStatus::Pending))
    );
    assert_eq!(of[0].score, Some(87.5));
    let older = runs::of_table(&lane.client, "db", "t7", Some(second), 10)
        .await
        .unwrap();
    assert_eq!(older.len(), 1);

    let reasons = runs::reasons(&lane.client, second).await.unwrap();
    let reasons: Vec<(&str, u64)> = reasons
        .iter()
        .map(|r| (r.reason.as_str(), r.tables))
        .collect();
    assert_eq!(reasons, [("healthy", 8), ("due", 1), ("opted_out", 1)]);
}

#[tokio::test]
async fn m28_what_was_submitted_is_listed_in_its_order_and_a_table_is_decided_once() {
    let lane = Lane::new().await;
    let id = open(&lane).await;
    for table in ["m", "z", "a"] {
        runs::record(&lane.client, id, &[submit(table, None)])
            .await
            .unwrap();
    }
    runs::record(&lane.client, id, &[submit("y", None), submit("x", None)])
        .await
        .unwrap();
    let listed = runs::submitted(&lane.client, id, 4).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|d| d.table.as_str()).collect();
    assert_eq!(names, ["m", "z", "a", "y"]);
    let again = runs::record(
        &lane.client,
        id,
        &[skip("q", "healthy"), skip("a", "healthy")],
    )
    .await;
    assert!(again.is_err());
    assert_eq!(
        lane.count("select count(*) from snowpack.orchestrator_decisions")
            .await,
        5
    );
}

#[tokio::test]
async fn deleting_a_run_deletes_its_decisions_and_no_job() {
    let mut lane = Lane::new().await;
    let id = open(&lane).await;
    let job = lane.submit("db.a").await;
    runs::record(&lane.client, id, &[submit("a", Some(&job))])
        .await
        .unwrap();
    lane.client
        .batch_execute("delete from snowpack.orchestrator_runs")
        .await
        .unwrap();
    assert_eq!(
        lane.count("select count(*) from snowpack.orchestrator_decisions")
            .await,
        0
    );
    assert!(jobs::get(&lane.client, &job).await.unwrap().is_some());
}

fn report(decisions: Vec<Decision>) -> Report {
    Report {
        dry_run: false,
        triggered_by: "api:ci".to_owned(),
        elapsed: Duration::from_secs(90),
        error: None,
        note: Some("made elsewhere".to_owned()),
        payload: json!({"tool": "other"}),
        counts: Counts {
            tables_assessed: 7,
            tables_skipped: 3,
            tables_healthy: 2,
            jobs_submitted: 2,
            jobs_completed: 1,
            jobs_failed: 1,
        },
        decisions,
    }
}

#[tokio::test]
async fn m28_a_run_made_elsewhere_is_recorded_as_it_is_told() {
    let mut lane = Lane::new().await;
    let tx = lane.client.transaction().await.unwrap();
    let told = runs::report(&tx, &report(Vec::new())).await.unwrap();
    let failed = Report {
        error: Some("it broke".to_owned()),
        ..report(vec![
            skip("a", "healthy"),
            skip("b", "not_due_yet"),
            submit("c", None),
        ])
    };
    let failed = runs::report(&tx, &failed).await.unwrap();
    tx.commit().await.unwrap();

    let told = run(&lane, told).await;
    assert_eq!(told.status, Status::Completed);
    assert_eq!(told.counts, report(Vec::new()).counts);
    let took = told.completed_at.unwrap().duration_since(told.started_at);
    assert_eq!(took.as_secs(), 90);
    // Nothing of it is looked up later.
    runs::settle(&lane.client).await.unwrap();
    assert_eq!(run(&lane, told.id).await.counts, told.counts);

    let failed = run(&lane, failed).await;
    assert_eq!(
        (failed.status, failed.error.as_deref()),
        (Status::Failed, Some("it broke"))
    );
    let counted = Counts {
        tables_assessed: 3,
        tables_skipped: 1,
        tables_healthy: 1,
        ..Counts::default()
    };
    assert_eq!(failed.counts, counted);
}
