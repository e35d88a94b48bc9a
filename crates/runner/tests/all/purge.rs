//! What is due goes with any job that did its work well, and never changes how that job ends.

use std::collections::BTreeMap;

use model::{Action, ActionOutcome, Advice, EndReason};
use runner::How;

use crate::engine::Step;
use crate::rig::{REFUSED, REWRITE, Rig};

const PURGE: Action = Action::PurgePending;

impl Rig {
    /// Files of the fake's table whose grace is over.
    async fn list(&self, files: i32) {
        let sql = "insert into snowpack.pending_deletions (catalog, table_uuid, path, size_bytes, \
                   reason, job_id, delete_after) \
                   select 'lakehouse', 'uuid', 'f/' || n, 10, 'expired', 'job', now() \
                   from generate_series(1, $1::int) n";
        self.client.execute(sql, &[&files]).await.unwrap();
    }

    async fn states(&self) -> BTreeMap<String, i64> {
        let sql = "select state, count(*) from snowpack.pending_deletions group by state";
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn metrics(&self) -> String {
        let encoder = prometheus::TextEncoder::new();
        encoder.encode_to_string(&self.registry.gather()).unwrap()
    }
}

fn states(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter()
        .map(|(state, files)| ((*state).to_owned(), *files))
        .collect()
}

#[tokio::test]
async fn m12_actions_run_and_are_recorded_in_canonical_order_however_asked() {
    for asked in [[PURGE, REWRITE], [REWRITE, PURGE]] {
        let mut rig = Rig::new(&[]).await;
        rig.list(3).await;
        let (job, claimed) = rig.submit_and_claim(&asked).await;
        assert_eq!(rig.run(claimed).await, How::Completed);
        let want = [(REWRITE, ActionOutcome::Done), (PURGE, ActionOutcome::Done)];
        assert_eq!(rig.outcomes(&job).await, want);
        assert_eq!(rig.states().await, states(&[("deleted", 3)]));
    }
}

#[tokio::test]
async fn what_is_due_goes_with_a_job_that_did_not_ask_for_it() {
    let mut rig = Rig::new(&[]).await;
    rig.list(3).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::Completed);
    let want = [(REWRITE, ActionOutcome::Done), (PURGE, ActionOutcome::Done)];
    assert_eq!(rig.outcomes(&job).await, want);
    let result = rig.rows(&job).await.remove(1).result;
    assert_eq!(result.result.unwrap()["purge"]["bytes"], 30);
    let metrics = rig.metrics();
    for line in [
        "snowpack_files_purged_total{result=\"deleted\"} 3",
        "snowpack_bytes_freed_total 30",
        "snowpack_actions_total{action=\"purge_pending\",result=\"done\"} 1",
    ] {
        assert!(metrics.contains(line), "`{line}` is not in\n{metrics}");
    }

    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::Completed);
    let want = [(REWRITE, ActionOutcome::Done)];
    assert_eq!(rig.outcomes(&job).await, want, "nothing is due: no row");
}

#[tokio::test]
async fn a_purge_nobody_asked_for_fails_without_its_job() {
    for advice in [Advice::RetryLater, Advice::GiveUp] {
        let mut rig = Rig::new(&[]).await;
        rig.list(3).await;
        *rig.engine.purge.lock().unwrap() = Some(Step::Fail(advice));
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, How::Completed, "{advice:?}");
        let want = [
            (REWRITE, ActionOutcome::Done),
            (PURGE, ActionOutcome::Failed),
        ];
        assert_eq!(rig.outcomes(&job).await, want, "{advice:?}");
        assert_eq!(rig.job(&job).await.error, None);
        assert_eq!(rig.states().await, states(&[("pending", 3)]));
        let metrics = rig.metrics();
        let line = "snowpack_actions_total{action=\"purge_pending\",result=\"failed\"} 1";
        assert!(metrics.contains(line), "{metrics}");
        rig.assert_nothing_is_live().await;
    }
}

#[tokio::test]
async fn an_asked_purge_that_fails_is_tried_again_as_any_action() {
    let mut rig = Rig::new(&[]).await;
    rig.list(3).await;
    *rig.engine.purge.lock().unwrap() = Some(Step::Fail(Advice::RetryLater));
    let (job, claimed) = rig.submit_and_claim(&[PURGE]).await;
    assert_eq!(rig.run(claimed).await, How::HandedBack);
    rig.make_due(&job).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
    let want = [(PURGE, ActionOutcome::Failed), (PURGE, ActionOutcome::Done)];
    assert_eq!(rig.outcomes(&job).await, want);
    assert_eq!(rig.states().await, states(&[("deleted", 3)]));
}

#[tokio::test]
async fn m14_nothing_is_purged_after_a_failed_action() {
    let mut rig = Rig::new(&[]).await;
    rig.list(3).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE, REFUSED]).await;
    assert_eq!(rig.run(claimed).await, How::Failed(EndReason::ActionFailed));
    let want = [
        (REWRITE, ActionOutcome::Done),
        (REFUSED, ActionOutcome::Failed),
    ];
    assert_eq!(rig.outcomes(&job).await, want);
    assert_eq!(rig.states().await, states(&[("pending", 3)]));
}

#[tokio::test]
async fn m06_a_dry_run_still_queued_purges_nothing_and_says_what_is_due() {
    let mut rig = Rig::new(&[]).await;
    rig.list(3).await;
    for actions in [&[REWRITE][..], &[PURGE]] {
        let job = rig.queued_dry_run(actions).await;
        assert_eq!(rig.attempt(&job).await, How::Completed);
        assert_eq!(rig.outcomes(&job).await, []);
        assert_eq!(rig.states().await, states(&[("pending", 3)]));
        if actions == [PURGE] {
            let plan = rig.job(&job).await.plan.unwrap();
            assert_eq!(plan["purge_pending"]["files"], 3);
        }
    }
}

#[tokio::test]
async fn a_worker_that_leaves_ends_its_job_instead_of_purging() {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    rig.list(3).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.shutdown.drain.cancel();
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    assert_eq!(rig.states().await, states(&[("pending", 3)]));
}

#[tokio::test]
async fn a_job_cancelled_while_it_purges_unasked_has_done_its_work() {
    let mut rig = Rig::new(&[]).await;
    rig.list(3).await;
    *rig.engine.purge.lock().unwrap() = Some(Step::Hang);
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.engine.reached().await;
    rig.cancel(&job).await;
    rig.heart.nudge();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn what_an_attempt_left_behind_is_listed_before_a_purge_and_waits_a_day() {
    let mut rig = Rig::new(&[]).await;
    let sql = "insert into snowpack.attempt_files (path, job_id, attempt_id, table_uuid, kind) \
               values ('f/left', 'gone', 'gone', 'uuid', 'data')";
    rig.client.batch_execute(sql).await.unwrap();
    let (job, claimed) = rig.submit_and_claim(&[PURGE]).await;
    assert_eq!(rig.run(claimed).await, How::Completed);
    assert_eq!(
        rig.outcomes(&job).await,
        [(PURGE, ActionOutcome::NothingToDo)]
    );
    let sql = "select count(*) from snowpack.pending_deletions where path = 'f/left' \
               and reason = 'attempt' and catalog = 'lakehouse' \
               and delete_after = found_at + interval '24 hours'";
    assert_eq!(rig.count(sql).await, 1);
}
