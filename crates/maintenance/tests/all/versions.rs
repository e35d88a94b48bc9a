//! Case 64: while a release is rolled out, programs of two versions share one lane, and a program
//! meets the schema of the version before its own and of the one after.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use maintenance::{SCHEMA, SCHEMA_VERSION, Submitted, migrations};
use model::{JobId, JobStatus};
use pg::Migration;
use queue::{Ask, Claimer, Cursor, End, HandBack, RenewState};
use testkit::Database;

use crate::lane::{LEASE, Lane, submission};

/// What the next version may do to the lane: it expands, and its claim is a function of its own.
fn next() -> Migration {
    Migration {
        number: SCHEMA_VERSION + 1,
        name: "next",
        sql: Cow::Borrowed(
            "alter table snowpack.job_queue add column weight int not null default 1;
             alter table snowpack.jobs add column kind text;
             alter table snowpack.table_locks add column note text;
             create index job_queue_by_weight on snowpack.job_queue (weight) where weight > 1;
             do $$ begin
                 execute replace(
                     pg_get_functiondef('snowpack.claim_v1'::regproc), 'claim_v1', 'claim_v2');
             end $$;",
        ),
        oldest_binary_schema: 1,
    }
}

/// A lane as version `version` left it.
async fn lane_of(version: i32) -> Lane {
    let mut list = migrations();
    list.push(next());
    list.truncate(version as usize);
    let database = Database::empty().await;
    let pool = database.pool().await;
    let migrated = pg::migrate(&pool, SCHEMA, &list).await.unwrap();
    assert_eq!(migrated.version, version);
    let client = database.client().await;
    Lane { database, client }
}

fn claimer() -> Claimer {
    let ask = Ask {
        lease: LEASE,
        worker: "w".to_owned(),
        pools: vec!["default".to_owned()],
    };
    Claimer::new(maintenance::queue(), ask)
}

async fn life_of_jobs(lane: &mut Lane) {
    let queue = maintenance::queue();
    for name in ["db.a", "db.b", "db.c"] {
        lane.submit(name).await;
    }
    lane.try_submit(&submission("db.a")).await.unwrap_err();
    let mut claimed = claimer().claim(&lane.client, 9).await.unwrap();
    assert_eq!(claimed.len(), 3);
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.fence.ids()).collect();
    for answer in queue.renew(&lane.client, &ids, LEASE).await.unwrap() {
        assert!(matches!(answer.state, RenewState::Renewed { .. }));
    }
    assert_eq!(queue.depth(&lane.client, &[], 10).await.unwrap().running, 3);
    let guarded = claimed.pop().unwrap();
    let mut client = lane.database.client().await;
    let guard = queue.guard(&mut client, &guarded.fence, LEASE).await;
    guard.unwrap().commit().await.unwrap();
    lane.finish(&guarded, &End::completed()).await.unwrap();
    lane.finish(&guarded, &End::completed()).await.unwrap_err();

    let back = claimed.pop().unwrap();
    let tx = lane.client.transaction().await.unwrap();
    let later = HandBack::failed(Duration::from_mins(1), "later");
    queue.hand_back(&tx, back.fence, &later).await.unwrap();
    tx.commit().await.unwrap();

    let lost = claimed.pop().unwrap();
    lane.expire(lost.fence.job()).await;
    let mut cursor = Cursor::default();
    let swept = queue.sweep(&lane.client, 10, &mut cursor).await.unwrap();
    assert_eq!(swept.reset, 1);
    let again = lane.claim(lost.fence.job()).await;
    lane.finish(&lost, &End::completed()).await.unwrap_err();
    let tx = lane.client.transaction().await.unwrap();
    maintenance::cancel(&tx, again.fence.job()).await.unwrap();
    tx.commit().await.unwrap();
    lane.finish(&again, &End::cancelled()).await.unwrap();
    assert_eq!(lane.status(again.fence.job()).await, JobStatus::Cancelled);
}

#[tokio::test]
async fn q64_the_queue_works_on_the_schema_before_and_after_its_own() {
    for version in [SCHEMA_VERSION - 1, SCHEMA_VERSION, SCHEMA_VERSION + 1] {
        life_of_jobs(&mut lane_of(version).await).await;
    }
}

#[tokio::test]
async fn q64_two_versions_claim_side_by_side_and_each_job_is_one_versions() {
    const JOBS: usize = 200;
    let mut lane = lane_of(SCHEMA_VERSION + 1).await;
    let mut submitted = BTreeSet::new();
    for number in 0..JOBS {
        submitted.insert(lane.submit(&format!("db.t{number}")).await);
    }
    let mut claimers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let client = lane.database.client().await;
        claimers.spawn(async move {
            let mut mine: Vec<JobId> = Vec::new();
            let mut old = claimer();
            loop {
                let batch: Vec<JobId> = if number % 2 == 0 {
                    let claimed = old.claim(&client, 5).await.unwrap();
                    claimed.iter().map(|c| c.fence.job().clone()).collect()
                } else {
                    let sql =
                        "select job_id from snowpack.claim_v2(5, '1 min', 'new', '{default}')";
                    let rows = client.query(sql, &[]).await.unwrap();
                    rows.iter()
                        .map(|row| JobId::new(row.get::<_, String>(0)))
                        .collect()
                };
                if batch.is_empty() {
                    return mine;
                }
                mine.extend(batch);
            }
        });
    }
    let claimed: Vec<JobId> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), JOBS);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), submitted);
    let once = "select count(*) from snowpack.job_queue where attempt_count = 1";
    assert_eq!(lane.count(once).await, JOBS as i64);
}

#[tokio::test]
async fn q64_a_retry_and_a_key_mean_the_same_to_both_versions() {
    let mut lane = lane_of(SCHEMA_VERSION).await;
    let mut asked = submission("db.t");
    asked.idempotency_key = Some("once".to_owned());
    let Submitted::New(job) = lane.try_submit(&asked).await.unwrap() else {
        panic!("it was there already")
    };
    let claimed = lane.claim(&job).await;
    let pool = lane.database.pool().await;
    let mut list = migrations();
    list.push(next());
    // Rolled out under a running job.
    let migrated = pg::migrate(&pool, SCHEMA, &list).await.unwrap();
    assert_eq!(migrated.applied, [SCHEMA_VERSION + 1]);
    let answer = lane.try_submit(&asked).await.unwrap();
    assert_eq!(answer, Submitted::Existing(job.clone()));
    lane.finish(&claimed, &End::cancelled()).await.unwrap();
    let tx = lane.client.transaction().await.unwrap();
    let retried = maintenance::retry(&tx, &job, "ann").await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(retried, Submitted::New(_)));
}
