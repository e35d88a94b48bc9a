//! Dry runs are recorded as ended: no lock, no queue row, one result an action.

use std::time::Duration;

use maintenance::{ActionResult, Error, Submission, Submitted, dry_run, settings};
use model::{Action, ActionOutcome, EndReason, JobStatus};
use serde_json::json;

use crate::lane::{Lane, submission};

fn asked(table: &str) -> Submission {
    Submission {
        actions: vec![Action::RewriteDataFiles, Action::ExpireSnapshots],
        dry_run: true,
        plan: Some(json!({"expire_snapshots": {"expire": []}})),
        ..submission(table)
    }
}

fn result(action: Action, outcome: ActionOutcome) -> ActionResult {
    let failed = outcome == ActionOutcome::Failed;
    ActionResult {
        action,
        outcome,
        error: failed.then(|| "gc.enabled is false".to_owned()),
        message: (!failed).then(|| "nothing".to_owned()),
        elapsed: Duration::from_millis(1_500),
        result: None,
    }
}

fn planned() -> [ActionResult; 2] {
    [
        result(Action::ExpireSnapshots, ActionOutcome::NothingToDo),
        result(Action::RewriteDataFiles, ActionOutcome::Done),
    ]
}

impl Lane {
    async fn dry_run(
        &mut self,
        asked: &Submission,
        results: &[ActionResult],
    ) -> Result<Submitted, Error> {
        let tx = self.client.transaction().await.unwrap();
        let submitted = dry_run::record(&tx, asked, results).await?;
        tx.commit().await.unwrap();
        Ok(submitted)
    }
}

#[tokio::test]
async fn m06_a_dry_run_is_a_completed_job_with_its_plans_and_results() {
    let mut lane = Lane::new().await;
    let submitted = lane.dry_run(&asked("db.t"), &planned()).await.unwrap();
    let Submitted::New(id) = submitted else {
        panic!("{submitted:?}")
    };
    let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
    assert_eq!((job.status, job.dry_run), (JobStatus::Completed, true));
    assert_eq!((job.reason, job.error), (None, None));
    assert_eq!(job.plan, asked("db.t").plan);
    assert_eq!(job.started_at, job.completed_at);
    assert_eq!(job.queue, None);
    let rows = maintenance::actions::list(&lane.client, &id).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| Some(&row.attempt) == job.attempt.as_ref())
    );
    let results: Vec<ActionResult> = rows.into_iter().map(|row| row.result).collect();
    assert_eq!(results, planned());
    lane.assert_nothing_is_live().await;
}

#[tokio::test]
async fn m06_a_dry_run_with_a_refused_plan_has_failed_with_the_reason() {
    let mut lane = Lane::new().await;
    let results = [
        result(Action::ExpireSnapshots, ActionOutcome::Failed),
        result(Action::RewriteDataFiles, ActionOutcome::Skipped),
    ];
    let submitted = lane.dry_run(&asked("db.t"), &results).await.unwrap();
    let job = maintenance::get(&lane.client, submitted.job()).await;
    let job = job.unwrap().unwrap();
    let ended = (job.status, job.reason, job.error.as_deref());
    let want = "expire_snapshots: gc.enabled is false";
    let failed = (JobStatus::Failed, Some(EndReason::ActionFailed), Some(want));
    assert_eq!(ended, failed);
    lane.assert_nothing_is_live().await;
}

#[tokio::test]
async fn m06_a_dry_run_of_a_locked_table_leaves_the_lock_to_its_holder() {
    let mut lane = Lane::new().await;
    let holder = lane.submit("db.t").await;
    lane.dry_run(&asked("db.t"), &planned()).await.unwrap();
    let held = "select count(*) from snowpack.table_locks l join snowpack.job_queue q \
                on q.job_id = l.holder where l.table_key = 'db.t'";
    assert_eq!(lane.count(held).await, 1);
    lane.claim(&holder).await;
}

#[tokio::test]
async fn m06_a_dry_run_honours_drain_and_idempotency_keys() {
    let mut lane = Lane::new().await;
    let mut keyed = asked("db.t");
    keyed.idempotency_key = Some("nightly".to_owned());
    let tx = lane.client.transaction().await.unwrap();
    assert_eq!(dry_run::known(&tx, &keyed).await.unwrap(), None);
    drop(tx);
    let first = lane.dry_run(&keyed, &planned()).await.unwrap();
    let again = Submitted::Existing(first.job().clone());
    assert_eq!(lane.dry_run(&keyed, &planned()).await.unwrap(), again);
    let tx = lane.client.transaction().await.unwrap();
    let known = dry_run::known(&tx, &keyed).await.unwrap();
    assert_eq!(known.as_ref(), Some(first.job()));
    drop(tx);
    // The same work for real is other work.
    let real = Submission {
        dry_run: false,
        ..keyed.clone()
    };
    let refused = lane.try_submit(&real).await.unwrap_err();
    assert!(
        matches!(refused, Error::IdempotencyMismatch { .. }),
        "{refused}"
    );

    settings::drain(&lane.client, "ann", None).await.unwrap();
    let refused = lane.dry_run(&asked("db.u"), &planned()).await.unwrap_err();
    assert!(matches!(refused, Error::Draining { .. }), "{refused}");
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 1);
}

#[tokio::test]
async fn m06_a_dry_run_is_never_queued_and_real_work_never_recorded_as_one() {
    let mut lane = Lane::new().await;
    let refused = lane.try_submit(&asked("db.t")).await.unwrap_err();
    assert!(refused.to_string().contains("never queued"), "{refused}");
    let refused = lane.dry_run(&submission("db.t"), &[]).await.unwrap_err();
    assert!(
        refused.to_string().contains("dry_run must be true"),
        "{refused}"
    );
    assert_eq!(lane.count("select count(*) from snowpack.jobs").await, 0);
}
