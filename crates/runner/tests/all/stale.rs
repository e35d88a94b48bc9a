//! An attempt that was replaced changes nothing, and one that lost an answer finds out.

use model::{ActionOutcome, Advice, JobStatus};
use queue::End;
use runner::How;

use crate::engine::{Lies, Step};
use crate::rig::{REWRITE, Rig, Setup};

#[tokio::test]
async fn m11_i10_a_stale_attempts_swap_is_refused() {
    for lies in [Lies::Here, Lies::Elsewhere] {
        let setup = Setup {
            lies,
            ..Setup::default()
        };
        let mut rig = Rig::with(setup, &[Step::HoldThenCommit, Step::HoldThenCommit]).await;
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        let stale = rig.start(claimed);
        rig.engine.reached().await;
        rig.expire(&job).await;
        let current = rig.claim(&job).await;
        rig.engine.go_on.notify_one();
        assert_eq!(stale.await.unwrap().how, How::Replaced);
        assert_eq!(
            (rig.commits(&job).await, rig.outcomes(&job).await),
            (0, vec![])
        );
        assert_eq!(
            rig.job(&job).await.attempt.as_ref(),
            Some(current.fence.attempt())
        );

        let running = rig.start(current);
        rig.engine.reached().await;
        rig.engine.go_on.notify_one();
        assert_eq!(running.await.unwrap().how, How::Completed);
        assert_eq!(rig.commits(&job).await, 1);
    }
}

#[tokio::test]
async fn a_replaced_attempt_is_stopped_at_the_next_beat() {
    let mut rig = Rig::new(&[Step::Hang]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let stale = rig.start(claimed);
    rig.engine.reached().await;
    rig.expire(&job).await;
    let current = rig.claim(&job).await;
    rig.heart.nudge();
    assert_eq!(stale.await.unwrap().how, How::Replaced);
    assert_eq!(rig.job(&job).await.status, JobStatus::Running);
    assert_eq!(rig.run(current).await, How::Completed);
}

#[tokio::test]
async fn what_an_earlier_attempt_committed_is_reported_and_not_done_again() {
    for lies in [Lies::Here, Lies::Elsewhere] {
        let step = Step::CommitThenFail(Advice::FindOut);
        let mut rig = Rig::with(
            Setup {
                lies,
                ..Setup::default()
            },
            &[step],
        )
        .await;
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, How::HandedBack);
        if lies == Lies::Elsewhere {
            // As if the guard's connection had been lost after the swap.
            rig.client
                .execute("delete from snowpack.job_actions", &[])
                .await
                .unwrap();
        }
        rig.make_due(&job).await;
        assert_eq!(rig.attempt(&job).await, How::Completed);
        assert_eq!(rig.engine.executed(), 1);
        assert_eq!(rig.commits(&job).await, 1);
        assert_eq!(
            rig.outcomes(&job).await,
            [(REWRITE, ActionOutcome::Done)],
            "{lies:?}"
        );
        let message = rig.rows(&job).await[0].result.message.clone().unwrap();
        let found = message.starts_with("by an earlier attempt");
        assert_eq!(found, lies == Lies::Elsewhere, "{message}");
    }
}

/// The backend that waits for a row lock, other than `not`.
async fn waiting_backend(rig: &Rig, not: i32) -> i32 {
    let sql = "select pid from pg_stat_activity where datname = current_database() \
               and wait_event_type = 'Lock' and application_name = 'test' and pid <> $1";
    let mut found = 0;
    testkit::until("a backend waits for a lock", async || {
        let row = rig.client.query_opt(sql, &[&not]).await.unwrap();
        found = row.map_or(0, |row| row.get(0));
        found != 0
    })
    .await;
    found
}

#[tokio::test]
async fn q7_a_finish_that_lost_its_answer_is_recognised() {
    // The attempt's own finish may be there first.
    for _ in 0..20 {
        if finish_cut_off().await {
            return;
        }
    }
    panic!("no finish was cut off");
}

/// True when the attempt's first finish lost its answer.
async fn finish_cut_off() -> bool {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let fence = claimed.fence.for_retry();
    let running = rig.start(claimed);
    rig.engine.reached().await;

    // The first finish is cut off; before it is sent again, the same end takes effect.
    let mut other = rig.database.client().await;
    rig.engine.go_on.notify_one();
    testkit::until("the action is done", async || {
        rig.outcomes(&job).await.len() == 1
    })
    .await;
    let tx = other.transaction().await.unwrap();
    let early = maintenance::queue()
        .finish(&tx, fence, &End::completed())
        .await;
    let cut_off = early.is_ok();
    if cut_off {
        let first = waiting_backend(&rig, 0).await;
        let sql = "select pg_terminate_backend($1)";
        rig.client.execute(sql, &[&first]).await.unwrap();
        waiting_backend(&rig, first).await;
    }
    tx.commit().await.unwrap();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.job(&job).await.status, JobStatus::Completed);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    rig.assert_nothing_is_live().await;
    cut_off
}

#[tokio::test]
async fn q67_a_guard_that_is_lost_after_the_swap_leaves_the_outcome_to_be_found_out() {
    let setup = Setup {
        lies: Lies::Elsewhere,
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::HoldInSwap]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.engine.reached().await;
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where datname = current_database() and state = 'idle in transaction'";
    assert_eq!(
        rig.count(sql).await,
        1,
        "the guard is the only open transaction"
    );
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Failed)]);
    let error = rig.rows(&job).await[0].result.error.clone().unwrap();
    assert!(error.contains("outcome unknown"), "{error}");

    rig.make_due(&job).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
    assert_eq!((rig.engine.executed(), rig.commits(&job).await), (1, 1));
}

#[tokio::test]
async fn q67_renewals_pass_a_guard_and_a_swap_has_an_end() {
    let lease = std::time::Duration::from_secs(6);
    let setup = Setup {
        lease,
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::HoldInSwap]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.engine.reached().await;
    let holds = "select count(*) from pg_stat_activity where datname = current_database() \
                 and state = 'idle in transaction'";
    let ends = "select (extract(epoch from visible_at) * 1000000)::bigint from snowpack.job_queue";
    let before = rig.count(ends).await;
    rig.heart.nudge();
    testkit::until("the lease is renewed", async || {
        rig.count(ends).await > before
    })
    .await;
    assert_eq!(rig.count(holds).await, 1, "while the guard is open");
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    let error = rig.rows(&job).await[0].result.error.clone().unwrap();
    assert!(error.contains("outcome unknown"), "{error}");
    assert_eq!(rig.commits(&job).await, 0);
}

#[tokio::test]
async fn a_lost_swap_leaves_neither_marks_nor_a_result() {
    let mut rig = Rig::new(&[Step::Conflict]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    assert_eq!(rig.run(claimed).await, How::HandedBack);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Failed)]);
    let marks = "select count(*) from snowpack.attempt_files where committed_at is not null";
    assert_eq!(rig.count(marks).await, 0);
    assert_eq!(
        rig.count("select count(*) from snowpack.attempt_files")
            .await,
        1
    );
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&rig.registry.gather())
        .unwrap();
    let line = "snowpack_commit_conflicts_total{action=\"rewrite_data_files\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn q57_postgres_away_before_the_swap_does_not_cost_the_attempt() {
    for lies in [Lies::Here, Lies::Elsewhere] {
        let setup = Setup {
            lies,
            ..Setup::default()
        };
        let mut rig = Rig::with(setup, &[]).await;
        // A sequence counts what is rolled back too.
        let sql = "create sequence tries; \
                   create function fail_once() returns trigger language plpgsql as $$ begin \
                       if nextval('tries') = 1 then \
                           raise exception 'starting up' using errcode = '57P03'; \
                       end if; return new; \
                   end $$; \
                   create trigger fail_once before update on snowpack.attempt_files \
                   for each row execute function fail_once()";
        rig.client.batch_execute(sql).await.unwrap();
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        assert_eq!(rig.run(claimed).await, How::Completed, "{lies:?}");
        assert_eq!(rig.count("select last_value from tries").await, 2);
        assert_eq!((rig.engine.executed(), rig.commits(&job).await), (1, 1));
        assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    }
}
