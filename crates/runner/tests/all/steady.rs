//! Cases 26, 54 and 59: what an attempt writes, what is left of it for the next one, and what it
//! makes of a server that gives it little time.

use std::time::Duration;

use maintenance::Error;
use model::{ActionOutcome, EndReason, JobStatus};
use planner::Progress;
use runner::{Config, How};

use crate::engine::Step;
use crate::rig::{REFUSED, REWRITE, Rig, Setup, submission};

/// Counts every statement that writes to a table of the lane.
const COUNT_WRITES: &str = "
create table public.writes (at_table text not null);
create function public.count_write() returns trigger language plpgsql as $$
begin insert into public.writes values (tg_table_name); return null; end $$;
do $$
declare v_table text;
begin
    for v_table in select format('%I.%I', schemaname, tablename) from pg_tables
        where schemaname = 'snowpack' loop
        execute format('create trigger count_write after insert or update or delete on %s \
                        for each statement execute function public.count_write()', v_table);
    end loop;
end $$";

#[tokio::test]
async fn q54_progress_feeds_the_watchdog_and_costs_no_statement() {
    let mut rig = Rig::new(&[Step::Commit, Step::TellThenCommit]).await;
    rig.client.batch_execute(COUNT_WRITES).await.unwrap();
    let mut writes = Vec::new();
    for _ in 0..2 {
        let (_, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        rig.client
            .batch_execute("truncate public.writes")
            .await
            .unwrap();
        assert_eq!(rig.run(claimed).await, How::Completed);
        writes.push(rig.count("select count(*) from public.writes").await);
    }
    assert!(writes[0] > 0, "{writes:?}");
    assert_eq!(
        writes[0], writes[1],
        "100,000 words of progress write nothing"
    );
}

/// A worker that says how far it is, and dies.
#[tokio::test]
async fn q54_what_an_attempt_recorded_outlives_it_and_only_the_current_one_records() {
    let mut rig = Rig::new(&[Step::CommitThenHang]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE, REFUSED]).await;
    let first = claimed.fence.for_retry();
    let dying = rig.start(claimed);
    // The first time it reaches its step, the second time it has committed.
    rig.engine.reached().await;
    rig.engine.reached().await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    let done = [(REWRITE, ActionOutcome::Done)];
    assert_eq!(rig.outcomes(&job).await, done);
    let recorded = rig.rows(&job).await.remove(0).result;

    rig.expire(&job).await;
    let second = rig.claim(&job).await;
    let tx = rig.client.transaction().await.unwrap();
    let late = maintenance::actions::record(&tx, &first, &recorded).await;
    assert!(matches!(late, Err(Error::Queue(queue::Error::Replaced))));
    tx.rollback().await.unwrap();
    assert_eq!(rig.outcomes(&job).await, done);
    let how = rig.run(second).await;
    assert_eq!(how, How::Failed(EndReason::ActionFailed));
    assert_eq!(rig.engine.executed(), 1, "what was done is not done again");
    assert_eq!(rig.commits(&job).await, 1);
    let both = [
        (REWRITE, ActionOutcome::Done),
        (REFUSED, ActionOutcome::Failed),
    ];
    assert_eq!(rig.outcomes(&job).await, both);
}

#[tokio::test]
async fn q54_progress_is_passed_on_to_whoever_watches() {
    #[derive(Debug, Default)]
    struct Told(std::sync::atomic::AtomicU64);
    impl Progress for Told {
        fn total(&self, _: u64) {}
        fn advance(&self, units: u64) {
            self.0.fetch_add(units, std::sync::atomic::Ordering::SeqCst);
        }
        fn alive(&self) {}
    }
    let mut rig = Rig::new(&[Step::TellThenCommit]).await;
    let (_, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let told = std::sync::Arc::new(Told::default());
    let shown = std::sync::Arc::clone(&told);
    rig.runner.run(claimed, &rig.shutdown, shown).await;
    assert_eq!(told.0.load(std::sync::atomic::Ordering::SeqCst), 100_000);
}

#[tokio::test]
async fn q26_a_job_no_worker_can_read_ends_after_a_bound_and_says_why() {
    let mut rig = Rig::new(&[]).await;
    let mut asked = submission(&[REWRITE]);
    asked.max_attempts = 2;
    let job = rig.submit(&asked).await;
    let sql = "alter table snowpack.jobs drop constraint jobs_actions_check; \
               update snowpack.jobs set actions = '{defragment}'";
    rig.client.batch_execute(sql).await.unwrap();
    // Twenty times for a newer worker to come, at no cost, then the job's own attempts.
    for number in 1..=21 {
        assert_eq!(rig.attempt(&job).await, How::HandedBack, "{number}");
        rig.make_due(&job).await;
    }
    assert_eq!(
        rig.attempt(&job).await,
        How::Failed(EndReason::Exhausted),
        "what the alert on exhausted jobs counts"
    );
    let sql = "select status, reason, error from snowpack.jobs where job_id = $1";
    let row = rig.client.query_one(sql, &[&job.as_str()]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), JobStatus::Failed.as_str());
    assert_eq!(row.get::<_, &str>(1), EndReason::Exhausted.as_str());
    assert!(row.get::<_, &str>(2).contains("`defragment`"), "{row:?}");
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn q59_an_attempt_under_short_limits_ends_once_when_the_way_is_free() {
    let setup = Setup {
        settings: &["statement_timeout = '2s'", "lock_timeout = '500ms'"],
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    // Whoever writes a result looks at the record it belongs to.
    let holder = rig.database.client().await;
    holder.batch_execute("begin").await.unwrap();
    let sql = "select pg_backend_pid() from snowpack.jobs for update";
    let pid: i32 = holder.query_one(sql, &[]).await.unwrap().get(0);
    rig.engine.go_on.notify_one();
    let mut waits = std::collections::BTreeSet::new();
    testkit::until("it was refused and tried again, twice", async || {
        let sql = "select query_start::text from pg_stat_activity \
                   where $1 = any (pg_blocking_pids(pid))";
        for row in rig.client.query(sql, &[&pid]).await.unwrap() {
            waits.insert(row.get::<_, String>(0));
        }
        waits.len() > 2
    })
    .await;
    assert_eq!(rig.commits(&job).await, 0, "nothing of it is there");
    assert_eq!(rig.outcomes(&job).await, []);
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    rig.assert_nothing_is_live().await;
}

/// Takes the slot back from an attempt that waits for an answer that does not come.
#[tokio::test]
async fn q68_a_server_that_never_answers_holds_no_slot_past_the_watchdog() {
    let tables = ["job_actions", "jobs"];
    for (table, how) in tables.into_iter().zip([How::HandedBack, How::Replaced]) {
        let setup = Setup {
            lease: Duration::from_secs(2),
            ..Setup::default()
        };
        let config = Config {
            stall: Duration::from_secs(1),
            stops_within: Duration::from_millis(20),
            ..setup.config
        };
        let mut rig = Rig::with(Setup { config, ..setup }, &[]).await;
        let (_, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        // The first keeps it from its earlier results, the second from its record and its end.
        let silent = rig.database.client().await;
        let lock = format!("begin; lock table snowpack.{table} in access exclusive mode");
        silent.batch_execute(&lock).await.unwrap();
        let ended = tokio::time::timeout(testkit::WAIT_MAX, rig.run(claimed)).await;
        assert_eq!(ended.expect("the slot is free"), how, "{table}");
        silent.batch_execute("rollback").await.unwrap();
    }
}

/// The action is done, and only its end does not come through.
#[tokio::test]
async fn q68_an_end_that_is_never_answered_holds_no_slot_past_the_watchdog() {
    let setup = Setup {
        lease: Duration::from_secs(2),
        ..Setup::default()
    };
    let config = Config {
        stall: Duration::from_secs(3),
        ..setup.config
    };
    let mut rig = Rig::with(Setup { config, ..setup }, &[Step::CommitThenHold]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.engine.reached().await;
    let silent = rig.database.client().await;
    let lock = "begin; select 1 from snowpack.jobs for update";
    silent.batch_execute(lock).await.unwrap();
    rig.engine.go_on.notify_one();
    let ended = tokio::time::timeout(testkit::WAIT_MAX, running).await;
    let ended = ended.expect("the slot is free").unwrap();
    assert_eq!(ended.how, How::Replaced);
    silent.batch_execute("rollback").await.unwrap();
    // The server learns that nobody listens when it answers; until then the row is held.
    let sql = "select count(*) from pg_stat_activity where datname = current_database() \
               and state <> 'idle' and pid <> pg_backend_pid()";
    testkit::until("the end that nobody waits for is over", async || {
        rig.count(sql).await == 0
    })
    .await;
    rig.expire(&job).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
    assert_eq!(rig.engine.executed(), 1, "what was done is not done again");
}

#[tokio::test]
async fn q58_leases_are_renewed_while_every_pooled_connection_is_taken() {
    let setup = Setup {
        lease: Duration::from_secs(2),
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    let taken = rig.engine.take_every_connection().await;
    let sql = "select count(*) from snowpack.job_queue \
               where visible_at > claimed_at + interval '6 seconds'";
    testkit::until("the lease was renewed for two leases", async || {
        rig.count(sql).await == 1
    })
    .await;
    rig.engine.go_on.notify_one();
    drop(taken);
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
}
