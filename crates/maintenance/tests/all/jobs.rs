//! Jobs through their life: claimed, ended, cancelled, hidden, listed.

use maintenance::{ActionResult, Error, Filter, actions};
use model::{Action, ActionOutcome, EndReason, JobId, JobStatus};
use queue::{Ask, Cancel, Claimer, End, RenewState};
use std::time::Duration;

use crate::lane::{LEASE, Lane, table};

fn result(outcome: ActionOutcome) -> ActionResult {
    ActionResult {
        action: Action::RewriteDataFiles,
        outcome,
        error: (outcome == ActionOutcome::Failed).then(|| "no luck".to_owned()),
        message: Some("said".to_owned()),
        elapsed: Duration::from_millis(1_500),
        result: Some(serde_json::json!({ "files_in": 3 })),
    }
}

async fn record(
    lane: &mut Lane,
    fence: &queue::Fence,
    result: &ActionResult,
) -> Result<bool, Error> {
    let tx = lane.client.transaction().await.unwrap();
    let recorded = actions::record(&tx, fence, result).await?;
    tx.commit().await.unwrap();
    Ok(recorded)
}

fn replaced(error: &Error) -> bool {
    matches!(error, Error::Queue(queue::Error::Replaced))
}

async fn cancel(lane: &mut Lane, job: &JobId) -> Result<Cancel, Error> {
    let tx = lane.client.transaction().await.unwrap();
    let cancelled = maintenance::cancel(&tx, job).await?;
    tx.commit().await.unwrap();
    Ok(cancelled)
}

async fn delete(lane: &mut Lane, job: &JobId) -> Result<(), Error> {
    let tx = lane.client.transaction().await.unwrap();
    maintenance::delete(&tx, job).await?;
    tx.commit().await.unwrap();
    Ok(())
}

#[tokio::test]
async fn m08_a_claim_is_echoed_in_the_record() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    assert_eq!(claimed.attempt_count, 1);
    let job = lane.claimed_job(&claimed.fence).await.unwrap().job;
    assert_eq!(job.status, JobStatus::Running);
    assert_eq!(job.attempt.as_ref(), Some(claimed.fence.attempt()));
    assert!(job.started_at.is_some());
    let queue = job.queue.unwrap();
    assert_eq!(queue.claimed_by.as_deref(), Some("test"));
    assert!(
        queue.visible_at > job.started_at.unwrap(),
        "the lease ends later"
    );
}

#[tokio::test]
async fn m09_a_heartbeat_extends_lease_and_lock_and_a_foreign_one_nothing() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    let queue = maintenance::queue();
    let ends = "select extract(epoch from least(q.visible_at, l.expires_at) - now())::bigint \
                from snowpack.job_queue q join snowpack.table_locks l on l.holder = q.job_id";
    let longer = LEASE * 10;
    queue
        .renew(&lane.client, &[claimed.fence.ids()], longer)
        .await
        .unwrap();
    assert!(lane.count(ends).await > 9 * 60, "both were extended");

    lane.expire(&id).await;
    let stale = claimed.fence;
    let current = lane.claim(&id).await.fence;
    assert_ne!(stale.attempt(), current.attempt());
    let renewed = queue
        .renew(&lane.client, &[stale.ids()], longer)
        .await
        .unwrap();
    assert_eq!(renewed[0].state, RenewState::Lost);
    assert!(lane.count(ends).await <= 60, "nothing was extended");
}

#[tokio::test]
async fn m10_q13_a_job_whose_worker_died_is_claimed_again() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let first = lane.claim(&id).await;
    lane.expire(&id).await;
    let second = lane.claim(&id).await;
    assert_ne!(first.fence.attempt(), second.fence.attempt());
    assert_eq!(second.attempt_count, 2);
    let job = lane.claimed_job(&second.fence).await.unwrap().job;
    assert_eq!(job.attempt.as_ref(), Some(second.fence.attempt()));
    let stale = lane.claimed_job(&first.fence).await.unwrap_err();
    assert!(replaced(&stale));
    let stale = maintenance::jobs::cancel_requested(&lane.client, &first.fence).await;
    assert!(replaced(&stale.unwrap_err()));
}

#[tokio::test]
async fn many_claims_are_loaded_at_once_each_with_its_own_job_and_results() {
    let mut lane = Lane::new().await;
    let (mut ids, mut claims) = (Vec::new(), Vec::new());
    for table in ["db.a", "db.b", "db.c"] {
        let id = lane.submit(table).await;
        claims.push(lane.claim(&id).await.fence);
        ids.push(id);
    }
    let tx = lane.client.transaction().await.unwrap();
    for (fence, message) in [(&claims[1], "first"), (&claims[2], "other")] {
        let mut row = result(ActionOutcome::Done);
        row.message = Some(message.to_owned());
        actions::record(&tx, fence, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    lane.expire(&ids[1]).await;
    claims.push(lane.claim(&ids[1]).await.fence);
    // A job of a newer version hinders no other.
    let newer = format!(
        "alter table snowpack.jobs drop constraint jobs_actions_check;
         update snowpack.jobs set actions = '{{fly}}' where job_id = '{}'",
        ids[0]
    );
    lane.client.batch_execute(&newer).await.unwrap();

    let asked: Vec<_> = claims.iter().map(queue::Fence::ids).collect();
    let loaded = maintenance::claimed_jobs(&lane.client, &asked)
        .await
        .unwrap();
    let told: Vec<String> = loaded
        .iter()
        .map(|loaded| match loaded {
            Ok(loaded) => {
                let said = loaded
                    .results
                    .iter()
                    .filter_map(|row| row.result.message.as_deref());
                format!("{} {:?}", loaded.job.table, said.collect::<Vec<_>>())
            }
            Err(error) if replaced(error) => "replaced".to_owned(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert!(
        told[0].contains("actions") && told[0].contains("fly"),
        "{told:?}"
    );
    assert_eq!(
        told[1..],
        ["replaced", "db.c [\"other\"]", "db.b [\"first\"]"]
    );
}

#[tokio::test]
async fn m11_nothing_a_stale_attempt_writes_takes_effect() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let stale = lane.claim(&id).await;
    lane.expire(&id).await;
    let current = lane.claim(&id).await;

    assert!(replaced(
        &lane.finish(&stale, &End::completed()).await.unwrap_err()
    ));
    let row = result(ActionOutcome::Done);
    assert!(replaced(
        &record(&mut lane, &stale.fence, &row).await.unwrap_err()
    ));
    let tx = lane.client.transaction().await.unwrap();
    let plan = serde_json::json!({});
    let refused =
        maintenance::jobs::store_plan(&tx, &stale.fence, Action::RewriteDataFiles, &plan).await;
    assert!(replaced(&refused.unwrap_err()));
    tx.rollback().await.unwrap();

    let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
    assert_eq!((job.status, job.plan), (JobStatus::Running, None));
    assert_eq!(
        lane.count("select count(*) from snowpack.job_actions")
            .await,
        0
    );
    assert_eq!(
        lane.count("select count(*) from snowpack.table_locks")
            .await,
        1
    );
    lane.finish(&current, &End::completed()).await.unwrap();
}

#[tokio::test]
async fn m13_a_result_is_recorded_once_for_each_attempt() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let first = lane.claim(&id).await;
    assert!(
        record(&mut lane, &first.fence, &result(ActionOutcome::Failed))
            .await
            .unwrap()
    );
    let again = record(&mut lane, &first.fence, &result(ActionOutcome::Done))
        .await
        .unwrap();
    assert!(!again, "what is recorded stays");
    lane.expire(&id).await;
    let second = lane.claim(&id).await;
    assert!(
        record(&mut lane, &second.fence, &result(ActionOutcome::Done))
            .await
            .unwrap()
    );
    let rows = actions::list(&lane.client, &id).await.unwrap();
    let got: Vec<_> = rows
        .iter()
        .map(|row| (row.attempt.clone(), row.result.clone()))
        .collect();
    let want = vec![
        (first.fence.attempt().clone(), result(ActionOutcome::Failed)),
        (second.fence.attempt().clone(), result(ActionOutcome::Done)),
    ];
    assert_eq!(got, want);
}

#[tokio::test]
async fn plans_are_kept_for_each_action() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    let mut store = async |action, plan: serde_json::Value| {
        let tx = lane.client.transaction().await.unwrap();
        maintenance::jobs::store_plan(&tx, &claimed.fence, action, &plan)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    store(Action::RewriteDataFiles, serde_json::json!({ "groups": 1 })).await;
    store(Action::PurgePending, serde_json::json!({ "paths": 2 })).await;
    store(Action::RewriteDataFiles, serde_json::json!({ "groups": 3 })).await;
    let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
    let want = serde_json::json!({
        "rewrite_data_files": { "groups": 3 },
        "purge_pending": { "paths": 2 },
    });
    assert_eq!(job.plan, Some(want));
}

#[tokio::test]
async fn m15_cancelling_a_pending_job_frees_its_table() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    assert_eq!(cancel(&mut lane, &id).await.unwrap(), Cancel::AtOnce);
    lane.assert_nothing_is_live().await;
    let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
    assert_eq!(
        (job.status, job.reason),
        (JobStatus::Cancelled, Some(EndReason::Cancelled))
    );
    assert!(job.completed_at.is_some());
    let again = cancel(&mut lane, &id).await.unwrap_err();
    assert!(
        matches!(
            again,
            Error::Ended {
                status: JobStatus::Cancelled,
                ..
            }
        ),
        "{again:?}"
    );
    let nobody = cancel(&mut lane, &JobId::new("nobody")).await.unwrap_err();
    assert!(matches!(nobody, Error::NoSuchJob(_)), "{nobody:?}");
}

#[tokio::test]
async fn m16_q52_cancelling_a_running_job_asks_its_worker() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    assert_eq!(cancel(&mut lane, &id).await.unwrap(), Cancel::Requested);
    assert_eq!(lane.status(&id).await, JobStatus::Running);
    let asked = maintenance::jobs::cancel_requested(&lane.client, &claimed.fence).await;
    assert!(asked.unwrap());
    lane.finish(&claimed, &End::cancelled()).await.unwrap();
    assert_eq!(lane.status(&id).await, JobStatus::Cancelled);
    lane.assert_nothing_is_live().await;
}

#[tokio::test]
async fn m17_q25_a_job_that_uses_up_its_attempts_ends_exhausted_however_they_ended() {
    let mut lane = Lane::new().await;
    let crashing = lane.submit("db.crashing").await;
    for _ in 0..5 {
        lane.claim(&crashing).await;
        lane.expire(&crashing).await;
    }
    let claimed = maintenance::queue()
        .claim_one(&lane.client, &crashing, LEASE, "test")
        .await
        .unwrap();
    assert!(claimed.is_none(), "{claimed:?}");

    let failing = lane.submit("db.failing").await;
    for _ in 0..4 {
        lane.claim(&failing).await;
        lane.expire(&failing).await;
    }
    let last = lane.claim(&failing).await;
    let end = End::failed(EndReason::Exhausted, "no luck");
    lane.finish(&last, &end).await.unwrap();

    lane.assert_nothing_is_live().await;
    for job in [crashing, failing] {
        let job = maintenance::get(&lane.client, &job).await.unwrap().unwrap();
        assert_eq!(
            (job.status, job.reason),
            (JobStatus::Failed, Some(EndReason::Exhausted))
        );
        assert!(job.completed_at.is_some() && job.queue.is_none());
        lane.submit(&job.table.key()).await;
    }
}

#[tokio::test]
async fn m18_every_end_takes_queue_row_and_lock_along() {
    let mut lane = Lane::new().await;
    let ends = [
        End::completed(),
        End::cancelled(),
        End::failed(EndReason::ActionFailed, "broke"),
        End::failed(EndReason::Timeout, "took too long"),
    ];
    for (number, end) in ends.iter().enumerate() {
        let id = lane.submit(&format!("db.t{number}")).await;
        let claimed = lane.claim(&id).await;
        lane.finish(&claimed, end).await.unwrap();
        lane.assert_nothing_is_live().await;
        let job = maintenance::get(&lane.client, &id).await.unwrap().unwrap();
        assert_eq!(
            (job.status, job.reason, &job.error),
            (end.status, end.reason, &end.error)
        );
        let attempt = claimed.fence.attempt();
        let ended = maintenance::jobs::ended_as(&lane.client, &id, attempt)
            .await
            .unwrap();
        assert_eq!(
            ended,
            Some(end.status),
            "the attempt recognises its own end"
        );
    }
}

#[tokio::test]
async fn m31_only_a_job_that_ended_can_be_hidden() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let live = delete(&mut lane, &id).await.unwrap_err();
    assert!(
        matches!(
            live,
            Error::Live {
                status: JobStatus::Pending,
                ..
            }
        ),
        "{live:?}"
    );
    let claimed = lane.claim(&id).await;
    let live = delete(&mut lane, &id).await.unwrap_err();
    assert!(
        matches!(
            live,
            Error::Live {
                status: JobStatus::Running,
                ..
            }
        ),
        "{live:?}"
    );
    lane.finish(&claimed, &End::completed()).await.unwrap();
    delete(&mut lane, &id).await.unwrap();
    assert_eq!(maintenance::get(&lane.client, &id).await.unwrap(), None);
    let filter = Filter {
        limit: 10,
        ..Filter::default()
    };
    assert_eq!(maintenance::list(&lane.client, &filter).await.unwrap(), []);
    assert!(matches!(
        delete(&mut lane, &id).await.unwrap_err(),
        Error::NoSuchJob(_)
    ));
}

#[tokio::test]
async fn m29_lists_filter_and_page_newest_first() {
    let mut lane = Lane::new().await;
    let mut jobs = Vec::new();
    for number in 0..7 {
        jobs.push(lane.submit(&format!("db.t{number}")).await);
    }
    // The same moment for all: only the id tells them apart.
    lane.client
        .execute("update snowpack.jobs set submitted_at = now()", &[])
        .await
        .unwrap();
    lane.claim(&jobs[3]).await;
    jobs.sort_unstable();
    jobs.reverse();

    let mut seen = Vec::new();
    let mut filter = Filter {
        limit: 3,
        ..Filter::default()
    };
    loop {
        let page = maintenance::list(&lane.client, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some((last.submitted_at, last.id.clone()));
        seen.extend(page.into_iter().map(|job| job.id));
    }
    assert_eq!(seen, jobs);

    let running = Filter {
        status: Some(JobStatus::Running),
        limit: 9,
        ..Filter::default()
    };
    assert_eq!(
        maintenance::list(&lane.client, &running)
            .await
            .unwrap()
            .len(),
        1
    );
    let one = Filter {
        table: Some(table("db.t5")),
        limit: 9,
        ..Filter::default()
    };
    let found = maintenance::list(&lane.client, &one).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].table, table("db.t5"));
}

#[tokio::test]
async fn a_row_of_a_newer_version_is_reported_not_guessed() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let sql = "alter table snowpack.jobs drop constraint jobs_actions_check; \
               update snowpack.jobs set actions = '{defragment}'";
    lane.client.batch_execute(sql).await.unwrap();
    let error = maintenance::get(&lane.client, &id).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column actions holds `defragment`"),
        "{error}"
    );
}

/// Ended by hand, or by a bug, while its queue row is still there.
async fn end_by_hand(lane: &Lane, job: &JobId) {
    let sql = "update snowpack.jobs set status = 'completed', reason = null, \
               completed_at = now() where job_id = $1";
    assert_eq!(lane.client.execute(sql, &[&job.as_str()]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_queue_row_whose_record_has_ended_stops_nobody_and_changes_nothing() {
    let mut lane = Lane::new().await;
    let (running, live) = (lane.submit("db.a").await, lane.submit("db.b").await);
    for job in [&running, &live] {
        lane.claim(job).await;
        lane.expire(job).await;
    }
    end_by_hand(&lane, &running).await;
    let ask = Ask {
        lease: LEASE,
        worker: "test".to_owned(),
        pools: vec!["default".to_owned()],
    };
    let mut worker = Claimer::new(maintenance::queue(), ask);
    let claimed = worker.claim(&lane.client, 5).await.unwrap();
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    assert_eq!(claimed[0].fence.job(), &live);
    lane.finish(&claimed[0], &End::completed()).await.unwrap();
    lane.assert_nothing_is_live().await;

    // Between two sweeps such a row may be claimed; its attempt is told to stop.
    let waiting = lane.submit("db.c").await;
    end_by_hand(&lane, &waiting).await;
    let claimed = lane.claim(&waiting).await;
    let loaded = lane.claimed_job(&claimed.fence).await;
    assert!(replaced(&loaded.unwrap_err()));
    assert_eq!(lane.status(&waiting).await, JobStatus::Completed);

    // A tick on its own ends it without a word in the record.
    let spent = "update snowpack.job_queue set attempt_count = max_attempts";
    lane.client.execute(spent, &[]).await.unwrap();
    lane.expire(&waiting).await;
    let tick = "select exhausted::bigint from snowpack.tick_v1(10)";
    assert_eq!(lane.count(tick).await, 1);
    assert_eq!(lane.status(&waiting).await, JobStatus::Completed);
    lane.assert_nothing_is_live().await;
}
