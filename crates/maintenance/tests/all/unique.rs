//! Case 47: a table's one live job, from its submission to its terminal commit, and no longer.

use std::time::Duration;

use maintenance::{Error, OnConflict, Submitted};
use model::{EndReason, JobId, JobStatus};
use queue::{End, HandBack};

use crate::lane::{Lane, submission};

/// A second job for the table is refused with the first one's name, or answered with it.
async fn refused(lane: &mut Lane, holder: &JobId, when: &str) {
    let refused = lane.try_submit(&submission("db.t")).await.unwrap_err();
    let Error::Locked { holder: named, .. } = refused else {
        panic!("{when}: {refused:?}")
    };
    assert_eq!(&named, holder, "{when}");
    let mut asked = submission("db.t");
    asked.on_conflict = OnConflict::ReturnExisting;
    let answer = lane.try_submit(&asked).await.unwrap();
    assert_eq!(answer, Submitted::Existing(holder.clone()), "{when}");
}

#[tokio::test]
async fn q47_a_second_job_is_refused_in_every_state_but_a_terminal_one() {
    let mut lane = Lane::new().await;
    let ends = [
        End::completed(),
        End::failed(EndReason::ActionFailed, "broke"),
        End::cancelled(),
    ];
    for end in &ends {
        let job = lane.submit("db.t").await;
        refused(&mut lane, &job, "pending").await;
        let claimed = lane.claim(&job).await;
        refused(&mut lane, &job, "running").await;
        let tx = lane.client.transaction().await.unwrap();
        let later = HandBack::failed(Duration::from_mins(5), "later");
        let queue = maintenance::queue();
        queue.hand_back(&tx, claimed.fence, &later).await.unwrap();
        tx.commit().await.unwrap();
        refused(&mut lane, &job, "waiting for its backoff").await;
        let due = "update snowpack.job_queue set visible_at = now()";
        lane.client.batch_execute(due).await.unwrap();
        let claimed = lane.claim(&job).await;
        lane.expire(&job).await;
        refused(&mut lane, &job, "running, its lease run out").await;
        lane.finish(&claimed, end).await.unwrap();
    }
    lane.submit("db.t").await;
}

/// Asks for the table while the holder's end is not committed; says what came of it after that.
async fn asked_meanwhile(commits: bool) -> (JobId, Result<Submitted, Error>) {
    let mut lane = Lane::new().await;
    let job = lane.submit("db.t").await;
    let claimed = lane.claim(&job).await;
    let mut second = lane.database.client().await;
    let sql = "select pg_backend_pid()";
    let pid: i32 = second.query_one(sql, &[]).await.unwrap().get(0);
    let tx = lane.client.transaction().await.unwrap();
    let end = End::completed();
    let queue = maintenance::queue();
    queue.finish(&tx, claimed.fence, &end).await.unwrap();
    let asking = tokio::spawn(async move {
        let tx = second.transaction().await.unwrap();
        let answer = maintenance::submit(&tx, &submission("db.t")).await;
        if answer.is_ok() {
            tx.commit().await.unwrap();
        }
        answer
    });
    let watcher = lane.database.client().await;
    testkit::until("the second one waits for the end", async || {
        let sql = "select 1 from pg_locks where pid = $1 and not granted";
        watcher.query_opt(sql, &[&pid]).await.unwrap().is_some()
    })
    .await;
    if commits {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
    (job, asking.await.unwrap())
}

#[tokio::test]
async fn q47_the_table_is_free_with_the_commit_of_the_end_and_not_before() {
    let (job, after) = asked_meanwhile(true).await;
    assert!(matches!(after, Ok(Submitted::New(new)) if new != job));
    let (job, after) = asked_meanwhile(false).await;
    assert!(matches!(after, Err(Error::Locked { holder, .. }) if holder == job));
}

#[tokio::test]
async fn q47_a_retry_of_a_job_whose_table_was_taken_is_refused_and_changes_nothing() {
    let mut lane = Lane::new().await;
    let job = lane.submit("db.t").await;
    let claimed = lane.claim(&job).await;
    let broke = End::failed(EndReason::ActionFailed, "broke");
    lane.finish(&claimed, &broke).await.unwrap();
    let taker = lane.submit("db.t").await;
    let before = maintenance::get(&lane.client, &job).await.unwrap();
    let tx = lane.client.transaction().await.unwrap();
    let retried = maintenance::retry(&tx, &job, "ann").await;
    tx.commit().await.unwrap();
    assert!(matches!(retried, Err(Error::Locked { holder, .. }) if holder == taker));
    let after = maintenance::get(&lane.client, &job).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(lane.status(&taker).await, JobStatus::Pending);
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 2);
    let claimed = lane.claim(&taker).await;
    lane.finish(&claimed, &End::completed()).await.unwrap();
    let tx = lane.client.transaction().await.unwrap();
    let retried = maintenance::retry(&tx, &job, "ann").await;
    tx.commit().await.unwrap();
    assert!(matches!(retried, Ok(Submitted::New(_))), "free again");
}
