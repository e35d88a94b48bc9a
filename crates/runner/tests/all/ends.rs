//! How attempts end when nobody interferes: done, nothing to do, failed, tried again, timed out.

use std::time::Duration;

use model::{ActionOutcome, Advice, EndReason, JobStatus};
use runner::{Config, How, Memory};

use crate::engine::{Lies, Step, report};
use crate::rig::{LEASE, REFUSED, REWRITE, Rig, Setup, submission};

#[tokio::test]
async fn m13_an_executed_action_has_one_row_and_its_job_completes() {
    for lies in [Lies::Here, Lies::Elsewhere] {
        let mut rig = Rig::with(
            Setup {
                lies,
                ..Setup::default()
            },
            &[],
        )
        .await;
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, How::Completed);
        let rows = rig.rows(&job).await;
        assert_eq!(rows.len(), 1);
        let result = &rows[0].result;
        assert_eq!(
            (result.outcome, result.error.as_ref()),
            (ActionOutcome::Done, None)
        );
        assert_eq!(result.message, Some(report().message()));
        assert_eq!(result.result, Some(serde_json::to_value(report()).unwrap()));
        let ended = rig.job(&job).await;
        assert_eq!((ended.status, ended.reason), (JobStatus::Completed, None));
        assert!(
            ended.plan.unwrap().get("rewrite_data_files").is_some(),
            "the plan is kept"
        );
        assert_eq!(rig.commits(&job).await, 1);
        let sql = "select count(*) from snowpack.attempt_files where committed_at is not null";
        assert_eq!(rig.count(sql).await, 1);
        rig.assert_nothing_is_live().await;
    }
}

#[tokio::test]
async fn nothing_to_do_is_a_good_result_with_the_reason() {
    let mut rig = Rig::new(&[]).await;
    *rig.engine.memory_bytes.lock().unwrap() = None;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::Completed);
    assert_eq!(
        rig.outcomes(&job).await,
        [(REWRITE, ActionOutcome::NothingToDo)]
    );
    let message = rig.rows(&job).await[0].result.message.clone().unwrap();
    assert!(message.starts_with("nothing to do: "), "{message}");
    assert_eq!(rig.engine.executed(), 0);
}

#[tokio::test]
async fn m14_a_failed_action_fails_its_job_and_the_rest_is_skipped() {
    let mut rig = Rig::new(&[]).await;
    let last = model::Action::PurgePending;
    let (job, claimed) = rig.submit_and_claim(&[last, REFUSED, REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::Failed(EndReason::ActionFailed));
    let want = [
        (REWRITE, ActionOutcome::Done),
        (REFUSED, ActionOutcome::Failed),
        (last, ActionOutcome::Skipped),
    ];
    assert_eq!(rig.outcomes(&job).await, want);
    let ended = rig.job(&job).await;
    assert_eq!(
        (ended.status, ended.reason),
        (JobStatus::Failed, Some(EndReason::ActionFailed))
    );
    let error = ended.error.unwrap();
    assert!(
        error.contains("remove_orphan_files is refused here"),
        "{error}"
    );
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn q23_a_failure_that_may_pass_is_tried_again_after_a_pause() {
    for advice in [Advice::RetryLater, Advice::PlanAgain, Advice::FindOut] {
        let mut rig = Rig::new(&[Step::Fail(advice)]).await;
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, How::HandedBack, "{advice:?}");
        assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Failed)]);
        let waiting = rig.job(&job).await;
        assert_eq!(waiting.status, JobStatus::Pending);
        let queue = waiting.queue.unwrap();
        assert_eq!((queue.attempt_count, queue.hand_back_count), (1, 0));
        let sql = "select count(*) from snowpack.job_queue where scheduled and visible_at > now() \
                   and visible_at <= now() + interval '1 hour'";
        assert_eq!(
            rig.count(sql).await,
            1,
            "later, and not later than the backoff"
        );
        assert!(rig.try_claim(&job).await.is_none(), "not before its time");

        rig.make_due(&job).await;
        assert_eq!(rig.attempt(&job).await, How::Completed);
        let want = [
            (REWRITE, ActionOutcome::Failed),
            (REWRITE, ActionOutcome::Done),
        ];
        assert_eq!(
            rig.outcomes(&job).await,
            want,
            "a failed try and its retry are two rows"
        );
        assert_eq!(rig.commits(&job).await, 1);
    }
}

/// The worker and its other jobs go on, and nobody waits for the lease.
#[tokio::test]
async fn q23_a_panic_of_the_engine_is_a_failure_with_its_words() {
    let mut rig = Rig::new(&[Step::Panic]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::HandedBack);
    let rows = rig.rows(&job).await;
    let error = rows[0].result.error.clone().unwrap();
    assert!(
        error.contains("the engine panicked: scripted panic"),
        "{error}"
    );
    rig.make_due(&job).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
}

#[tokio::test]
async fn m17_q25_failing_the_last_attempt_ends_as_losing_its_lease_does() {
    let mut rig = Rig::new(&[Step::Fail(Advice::RetryLater)]).await;
    let mut asked = submission(&[REWRITE]);
    asked.max_attempts = 1;
    let failing = rig.submit(&asked).await;
    assert_eq!(
        rig.attempt(&failing).await,
        How::Failed(EndReason::Exhausted)
    );
    rig.assert_nothing_is_live().await;

    let dying = rig.submit(&asked).await;
    rig.claim(&dying).await;
    rig.expire(&dying).await;
    assert!(rig.try_claim(&dying).await.is_none());
    rig.assert_nothing_is_live().await;

    for job in [failing, dying] {
        let job = rig.job(&job).await;
        assert_eq!(
            (job.status, job.reason),
            (JobStatus::Failed, Some(EndReason::Exhausted))
        );
    }
}

#[tokio::test]
async fn q29_a_failure_that_cannot_pass_ends_the_job_at_once() {
    let mut rig = Rig::new(&[Step::Fail(Advice::GiveUp)]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::Failed(EndReason::ActionFailed));
    let ended = rig.job(&job).await;
    assert_eq!(
        ended.error.as_deref(),
        Some("rewrite_data_files: scripted failure")
    );
    rig.assert_nothing_is_live().await;
}

fn impatient(stall: Duration) -> Setup {
    let setup = Setup::default();
    let stops_within = Duration::from_millis(20);
    Setup {
        config: Config {
            stall,
            stops_within,
            ..setup.config
        },
        ..setup
    }
}

#[tokio::test]
async fn q68_an_attempt_that_stands_still_ends_timeout_and_counts() {
    for step in [Step::Hang, Step::Deaf] {
        let mut rig = Rig::with(impatient(Duration::from_millis(200)), &[step, step]).await;
        let mut asked = submission(&[REWRITE]);
        asked.max_attempts = 2;
        let job = rig.submit(&asked).await;
        assert_eq!(rig.attempt(&job).await, How::HandedBack, "{step:?}");
        let waiting = rig.job(&job).await.queue.unwrap();
        assert_eq!((waiting.attempt_count, waiting.hand_back_count), (1, 0));
        let error = rig.rows(&job).await[0].result.error.clone().unwrap();
        assert_eq!(error, "rewrite_data_files: no progress for 0.2 s");

        rig.make_due(&job).await;
        assert_eq!(
            rig.attempt(&job).await,
            How::Failed(EndReason::Timeout),
            "{step:?}"
        );
        assert_eq!(rig.job(&job).await.reason, Some(EndReason::Timeout));
        assert_eq!(rig.commits(&job).await, 0);
        rig.assert_nothing_is_live().await;
    }
}

#[tokio::test]
async fn q68_an_attempt_that_takes_longer_than_its_job_allows_ends_timeout() {
    let mut rig = Rig::with(impatient(LEASE), &[Step::Busy]).await;
    let mut asked = submission(&[REWRITE]);
    asked.max_attempts = 1;
    asked.attempt_timeout = Some(Duration::from_secs(1));
    let job = rig.submit(&asked).await;
    assert_eq!(rig.attempt(&job).await, How::Failed(EndReason::Timeout));
    let error = rig.job(&job).await.error.unwrap();
    assert!(error.contains("longer than it may"), "{error}");
}

#[tokio::test]
async fn m06_a_dry_run_still_queued_plans_and_changes_nothing() {
    let mut rig = Rig::new(&[]).await;
    let job = rig.queued_dry_run(&[REWRITE]).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
    assert_eq!((rig.engine.executed(), rig.commits(&job).await), (0, 0));
    assert_eq!(rig.outcomes(&job).await, []);
    let plan = rig.job(&job).await.plan.unwrap();
    assert_eq!(plan["rewrite_data_files"]["rules"], "scripted");
}

#[tokio::test]
async fn q26_a_job_of_a_newer_version_is_left_for_a_newer_worker() {
    let mut rig = Rig::new(&[]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let sql = "alter table snowpack.jobs drop constraint jobs_actions_check; \
               update snowpack.jobs set actions = '{defragment}'";
    rig.client.batch_execute(sql).await.unwrap();
    assert_eq!(rig.run(claimed).await, How::HandedBack);
    let sql = "select count(*) from snowpack.job_queue where attempt_count = 0 \
               and hand_back_count = 1 and visible_at > now() and job_id = $1";
    let row = rig.client.query_one(sql, &[&job.as_str()]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn an_attempt_waits_for_memory_without_being_called_stalled() {
    let memory = Memory::new(10 << 20);
    let setup = impatient(Duration::from_secs(2));
    let config = Config {
        memory: memory.clone(),
        ..setup.config
    };
    let mut rig = Rig::with(Setup { config, ..setup }, &[]).await;
    *rig.engine.memory_bytes.lock().unwrap() = Some(8 << 20);
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let taken = memory.take(8 << 20).await;
    let running = rig.start(claimed);
    let planned = "select count(*) from snowpack.jobs where plan is not null \
                   and clock_timestamp() > started_at + interval '4 seconds'";
    testkit::until("it has waited for longer than a stall", async || {
        rig.count(planned).await == 1
    })
    .await;
    assert_eq!(rig.engine.executed(), 0);
    drop(taken);
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
}

#[tokio::test]
async fn ends_and_actions_are_counted() {
    let mut rig = Rig::new(&[Step::Commit, Step::Fail(Advice::GiveUp)]).await;
    for want in [How::Completed, How::Failed(EndReason::ActionFailed)] {
        let (_, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, want);
    }
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&rig.registry.gather())
        .unwrap();
    for line in [
        "snowpack_jobs_total{status=\"completed\"} 1",
        "snowpack_jobs_total{status=\"failed\"} 1",
        "snowpack_job_duration_seconds_count{status=\"completed\"} 1",
        "snowpack_actions_total{action=\"rewrite_data_files\",result=\"done\"} 1",
        "snowpack_actions_total{action=\"rewrite_data_files\",result=\"failed\"} 1",
        "snowpack_action_duration_seconds_count{action=\"rewrite_data_files\"} 2",
        "snowpack_action_bytes_read_total{action=\"rewrite_data_files\"} 400",
        "snowpack_action_bytes_written_total{action=\"rewrite_data_files\"} 90",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
}
