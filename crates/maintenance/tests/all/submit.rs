//! Submission: all of it or nothing, once for each key, and not while drained.

use std::collections::BTreeMap;

use maintenance::{Error, OnConflict, Submitted, settings};
use model::{Action, JobStatus};
use queue::End;
use tokio::task::JoinSet;

use crate::lane::{Lane, submission, table};

#[tokio::test]
async fn a_submission_is_lock_job_and_queue_row() {
    let mut lane = Lane::new().await;
    let mut asked = submission("db.events");
    asked.actions = vec![
        Action::PurgePending,
        Action::RewriteDataFiles,
        Action::PurgePending,
    ];
    asked.options.insert(
        Action::RewriteDataFiles,
        BTreeMap::from([("min-input-files".to_owned(), "2".to_owned())]),
    );
    asked.priority = -2;
    asked.pool = "large".to_owned();
    asked.max_attempts = 3;
    asked.attempt_timeout = Some(std::time::Duration::from_secs(90));
    asked.trace_context = Some("00-a-b-01".to_owned());
    let submitted = lane.try_submit(&asked).await.unwrap();
    let Submitted::New(id) = submitted else {
        panic!("{submitted:?}")
    };

    let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
    assert_eq!(job.table, table("db.events"));
    assert_eq!(
        job.actions,
        [Action::RewriteDataFiles, Action::PurgePending]
    );
    assert_eq!(job.options, asked.options);
    assert_eq!(job.status, JobStatus::Pending);
    assert_eq!(job.submitted_by, "test");
    assert_eq!(job.trace_context, asked.trace_context);
    assert_eq!(job.attempt_timeout, asked.attempt_timeout);
    let queue = job.queue.unwrap();
    assert_eq!(
        (queue.pool.as_str(), queue.priority, queue.attempts_max),
        ("large", -2, 3)
    );
    let sql = "select count(*) from snowpack.table_locks l join snowpack.job_queue q \
               on q.concurrency_key = l.table_key where l.table_key = 'db.events' \
               and l.holder = q.job_id";
    assert_eq!(lane.count(sql).await, 1);
}

#[tokio::test]
async fn q45_a_submission_rolled_back_leaves_nothing() {
    let mut lane = Lane::new().await;
    let tx = lane.client.transaction().await.unwrap();
    maintenance::submit(&tx, &submission("db.t")).await.unwrap();
    tx.rollback().await.unwrap();
    lane.assert_nothing_is_live().await;
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 0);
}

#[tokio::test]
async fn m04_a_locked_table_is_refused_naming_the_holder() {
    let mut lane = Lane::new().await;
    let holder = lane.submit("db.t").await;
    let refused = lane.try_submit(&submission("db.t")).await.unwrap_err();
    assert!(refused.to_string().contains(holder.as_str()), "{refused}");
    let Error::Locked { holder: named, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(named, holder);

    let mut asked = submission("db.t");
    asked.on_conflict = OnConflict::ReturnExisting;
    assert_eq!(
        lane.try_submit(&asked).await.unwrap(),
        Submitted::Existing(holder)
    );
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 1);
    lane.submit("db.other").await;
}

#[tokio::test]
async fn m05_drained_submissions_are_refused_and_reads_go_on() {
    let mut lane = Lane::new().await;
    let job = lane.submit("db.t").await;
    settings::drain(&lane.client, "ann", Some("upgrade"))
        .await
        .unwrap();
    settings::drain(&lane.client, "bob", None).await.unwrap();
    let refused = lane.try_submit(&submission("db.u")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "new jobs are refused: drained by ann (upgrade)"
    );
    assert!(
        maintenance::get(&lane.client, &job)
            .await
            .unwrap()
            .is_some()
    );
    lane.claim(&job).await;
    assert_eq!(
        settings::drained(&lane.client).await.unwrap().unwrap().by,
        "ann"
    );
    settings::undrain(&lane.client).await.unwrap();
    assert_eq!(settings::drained(&lane.client).await.unwrap(), None);
    lane.submit("db.u").await;
}

#[tokio::test]
async fn q36_a_drain_stops_neither_claims_nor_the_end_of_leases() {
    let mut lane = Lane::new().await;
    let (waiting, running) = (lane.submit("db.t").await, lane.submit("db.u").await);
    lane.claim(&running).await;
    settings::drain(&lane.client, "ann", None).await.unwrap();
    lane.expire(&running).await;
    for job in [waiting, running] {
        // A job that waited, and one whose worker died meanwhile.
        let claimed = lane.claim(&job).await;
        lane.finish(&claimed, &End::completed()).await.unwrap();
    }
    lane.assert_nothing_is_live().await;
    let refused = lane.try_submit(&submission("db.t")).await.unwrap_err();
    assert!(matches!(refused, Error::Draining { .. }));
}

#[tokio::test]
async fn the_same_key_is_the_same_job_and_other_work_is_refused() {
    let mut lane = Lane::new().await;
    let mut asked = submission("db.t");
    asked.idempotency_key = Some("k1".to_owned());
    let Submitted::New(job) = lane.try_submit(&asked).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        lane.try_submit(&asked).await.unwrap(),
        Submitted::Existing(job.clone())
    );

    let mut other = asked.clone();
    other.table = table("db.u");
    let refused = lane.try_submit(&other).await.unwrap_err();
    assert!(matches!(&refused, Error::IdempotencyMismatch { job: first, .. } if *first == job));

    let mut somebody = other.clone();
    somebody.submitted_by = "else".to_owned();
    assert!(matches!(
        lane.try_submit(&somebody).await.unwrap(),
        Submitted::New(_)
    ));

    let claimed = lane.claim(&job).await;
    lane.finish(&claimed, &End::completed()).await.unwrap();
    assert_eq!(
        lane.try_submit(&asked).await.unwrap(),
        Submitted::Existing(job),
        "the key outlives the job's end"
    );
}

#[tokio::test]
async fn q46_racing_submissions_with_one_key_make_one_job() {
    let lane = Lane::new().await;
    let mut racing = JoinSet::new();
    for _ in 0..16 {
        let mut client = lane.database.client().await;
        racing.spawn(async move {
            let mut asked = submission("db.t");
            asked.idempotency_key = Some("k".to_owned());
            let tx = client.transaction().await.unwrap();
            let submitted = maintenance::submit(&tx, &asked).await.unwrap();
            tx.commit().await.unwrap();
            submitted
        });
    }
    let all = racing.join_all().await;
    let new = all
        .iter()
        .filter(|submitted| matches!(submitted, Submitted::New(_)))
        .count();
    assert_eq!(new, 1, "{all:?}");
    assert!(
        all.iter().all(|submitted| submitted.job() == all[0].job()),
        "{all:?}"
    );
}

#[tokio::test]
async fn i3_racing_submissions_for_one_table_make_one_live_job() {
    let lane = Lane::new().await;
    let mut racing = JoinSet::new();
    for _ in 0..16 {
        let mut client = lane.database.client().await;
        racing.spawn(async move {
            let tx = client.transaction().await.unwrap();
            let submitted = maintenance::submit(&tx, &submission("db.t")).await;
            match submitted {
                Ok(submitted) => {
                    tx.commit().await.unwrap();
                    Some(submitted)
                }
                Err(Error::Locked { .. }) => None,
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    assert_eq!(racing.join_all().await.iter().flatten().count(), 1);
    assert_eq!(
        lane.count("select count(*) from snowpack.job_queue").await,
        1
    );
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 1);
}

#[tokio::test]
async fn refused_submissions_store_nothing() {
    let mut lane = Lane::new().await;
    let mut asked = submission("db.t");
    asked.actions.clear();
    assert!(matches!(
        lane.try_submit(&asked).await.unwrap_err(),
        Error::NoActions
    ));
    let mut asked = submission("db.t");
    asked
        .options
        .insert(Action::ExpireSnapshots, BTreeMap::new());
    assert!(matches!(
        lane.try_submit(&asked).await.unwrap_err(),
        Error::StrayOptions(_)
    ));
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 0);
    lane.assert_nothing_is_live().await;
}
