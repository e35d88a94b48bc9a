//! Case 28: a job that did not do well is tried again as a new job; any other is not.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::{ActionResult, Error, Submission, Submitted, actions, history, settings};
use model::{Action, ActionOutcome, EndReason, JobId};
use queue::{Cancel, End};

use crate::lane::{LEASE, Lane, submission};

fn asked() -> Submission {
    let options = BTreeMap::from([("min-input-files".to_owned(), "2".to_owned())]);
    Submission {
        options: BTreeMap::from([(Action::RewriteDataFiles, options)]),
        priority: -2,
        pool: "large".to_owned(),
        max_attempts: 3,
        attempt_timeout: Some(Duration::from_secs(90)),
        idempotency_key: Some("once".to_owned()),
        ..submission("db.t")
    }
}

impl Lane {
    async fn retry(&mut self, job: &JobId) -> Result<Submitted, Error> {
        let tx = self.client.transaction().await.unwrap();
        let submitted = maintenance::retry(&tx, job, "ann").await?;
        tx.commit().await.unwrap();
        Ok(submitted)
    }

    async fn failed(&mut self) -> JobId {
        let job = self.try_submit(&asked()).await.unwrap().job().clone();
        let claimed = self.claim(&job).await;
        let end = End::failed(EndReason::ActionFailed, "disk full".to_owned());
        self.finish(&claimed, &end).await.unwrap();
        job
    }

    /// It asks for the same, of the same queue, on behalf of another.
    async fn assert_repeats(&self, retried: &JobId, job: &JobId) {
        let found = maintenance::get(&self.client, retried).await;
        let found = found.unwrap().unwrap();
        let queue = found.queue.unwrap();
        let want = asked();
        assert_eq!(found.retry_of.as_ref(), Some(job));
        assert_eq!((&found.table, &found.actions), (&want.table, &want.actions));
        assert_eq!(found.options, want.options);
        assert_eq!(found.attempt_timeout, want.attempt_timeout);
        assert_eq!((&*found.submitted_by, found.idempotency_key), ("ann", None));
        assert_eq!((&*queue.pool, queue.priority), ("large", -2));
        assert_eq!((queue.attempts_max, queue.attempt_count), (3, 0));
    }
}

#[tokio::test]
async fn q28_a_failed_job_is_tried_again_as_it_was_asked() {
    let mut lane = Lane::new().await;
    let job = lane.failed().await;
    let Submitted::New(retried) = lane.retry(&job).await.unwrap() else {
        panic!("{job} was not retried")
    };
    lane.assert_repeats(&retried, &job).await;
    // A second retry beside the first is a second job for the table.
    let refused = lane.retry(&job).await.unwrap_err();
    assert!(matches!(refused, Error::Locked { holder, .. } if holder == retried));
}

#[tokio::test]
async fn q28_a_job_out_of_attempts_is_tried_again_with_a_budget_of_its_own_and_kept_as_it_was() {
    let mut lane = Lane::new().await;
    let job = lane.try_submit(&asked()).await.unwrap().job().clone();
    let result = ActionResult {
        action: Action::RewriteDataFiles,
        outcome: ActionOutcome::Failed,
        error: Some("disk full".to_owned()),
        message: None,
        elapsed: Duration::from_secs(2),
        result: None,
    };
    for _ in 0..3 {
        let claimed = lane.claim(&job).await;
        let tx = lane.client.transaction().await.unwrap();
        let recorded = actions::record(&tx, &claimed.fence, &result).await;
        recorded.unwrap();
        tx.commit().await.unwrap();
        lane.expire(&job).await;
    }
    let queue = maintenance::queue();
    let spent = queue.claim_one(&lane.client, &job, LEASE, "w").await;
    assert!(spent.unwrap().is_none());
    let kept = async |lane: &Lane| {
        let job = history::get(&lane.client, &job).await.unwrap().unwrap();
        assert_eq!(job.1.len(), 3, "every attempt's result");
        assert_eq!(job.0.job.reason, Some(EndReason::Exhausted));
        job
    };
    let before = kept(&lane).await;
    let retried = lane.retry(&job).await.unwrap().job().clone();
    lane.assert_repeats(&retried, &job).await;
    for attempt in 1..=3 {
        assert_eq!(lane.claim(&retried).await.attempt_count, attempt);
        lane.expire(&retried).await;
    }
    let spent = queue.claim_one(&lane.client, &retried, LEASE, "w").await;
    assert!(spent.unwrap().is_none(), "three attempts of its own");
    assert_eq!(kept(&lane).await, before);
}

#[tokio::test]
async fn a_cancelled_job_is_tried_again_and_a_retry_too() {
    let mut lane = Lane::new().await;
    let mut job = lane.submit("db.t").await;
    for _ in 0..2 {
        let tx = lane.client.transaction().await.unwrap();
        assert_eq!(
            maintenance::cancel(&tx, &job).await.unwrap(),
            Cancel::AtOnce
        );
        tx.commit().await.unwrap();
        let retried = lane.retry(&job).await.unwrap().job().clone();
        let found = maintenance::get(&lane.client, &retried).await.unwrap();
        assert_eq!(found.unwrap().retry_of, Some(job));
        job = retried;
    }
}

#[tokio::test]
async fn q28_a_job_that_was_archived_is_tried_again() {
    let mut lane = Lane::new().await;
    let job = lane.failed().await;
    let archive = "insert into snowpack.job_history (job_id, database_name, table_name, status, \
                   submitted_at, started_at, completed_at, submitted_by, record, actions) \
                   select job_id, database_name, table_name, status, submitted_at, started_at, \
                   completed_at, submitted_by, to_jsonb(jobs), '[]' from snowpack.jobs; \
                   delete from snowpack.jobs";
    lane.client.batch_execute(archive).await.unwrap();
    let retried = lane.retry(&job).await.unwrap().job().clone();
    lane.assert_repeats(&retried, &job).await;
}

#[tokio::test]
async fn a_row_of_an_older_version_is_tried_again_with_the_defaults() {
    let mut lane = Lane::new().await;
    let job = lane.failed().await;
    let older = "update snowpack.jobs set pool = null, priority = null, max_attempts = null";
    lane.client.batch_execute(older).await.unwrap();
    let retried = lane.retry(&job).await.unwrap().job().clone();
    let queue = maintenance::get(&lane.client, &retried).await;
    let queue = queue.unwrap().unwrap().queue.unwrap();
    assert_eq!(
        (&*queue.pool, queue.priority, queue.attempts_max),
        ("default", 0, 5)
    );
}

#[tokio::test]
async fn what_did_well_or_is_still_live_is_not_tried_again() {
    let mut lane = Lane::new().await;
    let check = |refused: Error, want: &str| {
        let refused = refused.to_string();
        assert!(refused.ends_with(want), "{refused}");
    };
    let job = lane.submit("db.t").await;
    check(
        lane.retry(&job).await.unwrap_err(),
        "is pending; cancel it first",
    );
    let claimed = lane.claim(&job).await;
    check(
        lane.retry(&job).await.unwrap_err(),
        "is running; cancel it first",
    );
    lane.finish(&claimed, &End::completed()).await.unwrap();
    let want = "is completed; only a failed or cancelled one is tried again";
    check(lane.retry(&job).await.unwrap_err(), want);
    check(
        lane.retry(&JobId::new("gone")).await.unwrap_err(),
        "no job gone",
    );

    let job = lane.failed().await;
    let dry = "update snowpack.jobs set dry_run = true where status = 'failed'";
    lane.client.batch_execute(dry).await.unwrap();
    check(
        lane.retry(&job).await.unwrap_err(),
        "was a dry run; submit it again",
    );
    lane.client
        .batch_execute("update snowpack.jobs set dry_run = false")
        .await
        .unwrap();
    settings::drain(&lane.client, "ann", None).await.unwrap();
    check(lane.retry(&job).await.unwrap_err(), "drained by ann");
    settings::undrain(&lane.client).await.unwrap();
    let tx = lane.client.transaction().await.unwrap();
    maintenance::delete(&tx, &job).await.unwrap();
    tx.commit().await.unwrap();
    check(
        lane.retry(&job).await.unwrap_err(),
        &format!("no job {job}"),
    );
    lane.assert_nothing_is_live().await;
}
