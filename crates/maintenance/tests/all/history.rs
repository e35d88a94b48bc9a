//! Jobs outlive operational retention (case 65): moved with all they hold, listed together, found by table.

use std::collections::BTreeSet;

use maintenance::history::{self, Past};
use maintenance::retention::{Old, batch};
use maintenance::{ActionResult, Error, Filter, actions, jobs};
use model::{Action, ActionOutcome, EndReason, JobId, JobStatus};
use queue::End;
use serde_json::json;

use crate::lane::{Lane, submission, table};

/// A job that ended as told, with a plan and one result.
async fn ended(lane: &mut Lane, name: &str, end: &End) -> JobId {
    let id = lane.submit(name).await;
    let claimed = lane.claim(&id).await;
    let tx = lane.client.transaction().await.unwrap();
    let plan = json!({"groups": 1});
    jobs::store_plan(&tx, &claimed.fence, Action::RewriteDataFiles, &plan)
        .await
        .unwrap();
    let done = ActionResult {
        action: Action::RewriteDataFiles,
        outcome: ActionOutcome::Done,
        error: None,
        message: Some("rewrote 2 files".to_owned()),
        elapsed: std::time::Duration::from_secs(2),
        result: Some(json!({"bytes": 9_007_199_254_740_993_i64})),
    };
    actions::record(&tx, &claimed.fence, &done).await.unwrap();
    tx.commit().await.unwrap();
    lane.finish(&claimed, end).await.unwrap();
    id
}

/// As if it had been submitted, and had ended, so many days ago.
async fn age(lane: &Lane, job: &JobId, days: i32) {
    let sql = "update snowpack.jobs set submitted_at = submitted_at - make_interval(days => $2), \
               completed_at = completed_at - make_interval(days => $2) where job_id = $1";
    let changed = lane.client.execute(sql, &[&job.as_str(), &days]).await;
    assert_eq!(changed.unwrap(), 1);
}

fn page(limit: u32) -> Filter {
    Filter {
        limit,
        ..Filter::default()
    }
}

async fn archive(lane: &Lane) -> u64 {
    batch(&lane.client, Old::Jobs, 30, 100).await.unwrap()
}

async fn hide(lane: &mut Lane, job: &JobId) -> Result<(), Error> {
    let tx = lane.client.transaction().await.unwrap();
    let hidden = maintenance::delete(&tx, job).await;
    tx.commit().await.unwrap();
    hidden
}

fn ids(found: &[Past]) -> Vec<JobId> {
    found.iter().map(|past| past.job.id.clone()).collect()
}

#[tokio::test]
async fn m30_an_archived_job_is_what_it_was_with_its_actions() {
    let mut lane = Lane::new().await;
    let ends = [
        End::completed(),
        End::failed(EndReason::ActionFailed, "broke"),
        End::cancelled(),
    ];
    for (number, end) in ends.iter().enumerate() {
        let id = ended(&mut lane, &format!("\"a.b\".t{number}"), end).await;
        age(&lane, &id, 31).await;
        let (before, results) = history::get(&lane.client, &id).await.unwrap().unwrap();
        assert_eq!((before.archived_at, results.len()), (None, 1));
        assert_eq!(archive(&lane).await, 1);
        assert_eq!(maintenance::get(&lane.client, &id).await.unwrap(), None);
        let (after, kept) = history::get(&lane.client, &id).await.unwrap().unwrap();
        assert_eq!(after.job, before.job, "plan, options, times and all");
        assert!(after.job.plan.is_some() && after.archived_at.is_some());
        assert_eq!(kept, results);
    }
    assert_eq!(archive(&lane).await, 0, "once");
    let left = "select count(*) from snowpack.job_actions";
    assert_eq!(lane.count(left).await, 0);
}

#[tokio::test]
async fn m30_kept_and_archived_jobs_are_one_listing() {
    let mut lane = Lane::new().await;
    let mut all = Vec::new();
    for number in 0_u32..9 {
        let end = if number % 3 == 0 {
            End::failed(EndReason::Timeout, "slow")
        } else {
            End::completed()
        };
        let id = ended(&mut lane, &format!("db{}.t", number % 2), &end).await;
        // 11, 16, .. days: five are old enough to move.
        let days = 11 + i32::try_from(number).unwrap() * 5;
        age(&lane, &id, days).await;
        all.push(id);
    }
    assert_eq!(archive(&lane).await, 5);
    let live = lane.submit("db0.t").await;
    all.insert(0, live.clone());
    for limit in [1, 2, 3, 100] {
        let (mut seen, mut filter) = (Vec::new(), page(limit));
        loop {
            let found = history::list(&lane.client, &filter).await.unwrap();
            let Some(last) = found.last() else { break };
            filter.before = Some((last.job.submitted_at, last.job.id.clone()));
            assert!(found.len() <= limit as usize);
            seen.extend(found);
        }
        assert_eq!(ids(&seen), all, "pages of {limit}");
        assert_eq!(
            seen.iter()
                .filter(|past| past.archived_at.is_some())
                .count(),
            5
        );
        assert!(
            seen[0].job.queue.is_some(),
            "the live one stands in the queue"
        );
    }
    let list = async |filter: Filter| history::list(&lane.client, &filter).await.unwrap();
    let of_table = list(Filter {
        table: Some(table("db0.t")),
        ..page(100)
    })
    .await;
    assert_eq!(of_table.len(), 6);
    let failed = list(Filter {
        status: Some(JobStatus::Failed),
        database: Some("db1".to_owned()),
        ..page(100)
    })
    .await;
    assert_eq!(ids(&failed), [all[4].clone()]);
    let since = of_table[2].job.submitted_at;
    let recent = list(Filter {
        since: Some(since),
        table: Some(table("db0.t")),
        ..page(100)
    })
    .await;
    assert_eq!(ids(&recent), ids(&of_table[..3]));
    let nowhere = list(Filter {
        database: Some("db1".to_owned()),
        table: Some(table("db0.t")),
        ..page(100)
    })
    .await;
    assert_eq!(nowhere, []);
}

#[tokio::test]
async fn m30_only_what_ended_long_ago_moves_and_what_is_live_never() {
    let mut lane = Lane::new().await;
    let young = ended(&mut lane, "db.young", &End::completed()).await;
    age(&lane, &young, 29).await;
    let old = ended(&mut lane, "db.old", &End::completed()).await;
    age(&lane, &old, 31).await;
    let (pending, running) = (
        lane.submit("db.pending").await,
        lane.submit("db.running").await,
    );
    lane.claim(&running).await;
    // Its record was ended by hand while its queue row is still there.
    let odd = lane.submit("db.odd").await;
    let sql =
        "update snowpack.jobs set status = 'completed', completed_at = now() where job_id = $1";
    lane.client.execute(sql, &[&odd.as_str()]).await.unwrap();
    age(&lane, &odd, 400).await;
    let sql = "update snowpack.jobs set submitted_at = now() - interval '400 days' where completed_at is null";
    assert_eq!(lane.client.execute(sql, &[]).await.unwrap(), 2);
    assert_eq!(archive(&lane).await, 1);
    for (id, archived) in [
        (young, false),
        (old, true),
        (pending, false),
        (running, false),
        (odd, false),
    ] {
        let (past, _) = history::get(&lane.client, &id).await.unwrap().unwrap();
        assert_eq!(past.archived_at.is_some(), archived, "{}", past.job.table);
    }
}

#[tokio::test]
async fn m31_a_hidden_job_stays_hidden_when_it_is_archived_and_an_archived_one_can_be_hidden() {
    let mut lane = Lane::new().await;
    let hidden = ended(&mut lane, "db.t", &End::completed()).await;
    let other = ended(&mut lane, "db.t", &End::completed()).await;
    hide(&mut lane, &hidden).await.unwrap();
    age(&lane, &hidden, 31).await;
    age(&lane, &other, 31).await;
    assert_eq!(archive(&lane).await, 2, "hidden ones too");
    assert_eq!(history::get(&lane.client, &hidden).await.unwrap(), None);
    let found = history::list(&lane.client, &page(9)).await.unwrap();
    assert_eq!(ids(&found), std::slice::from_ref(&other));
    let again = hide(&mut lane, &hidden).await.unwrap_err();
    assert!(matches!(again, Error::NoSuchJob(_)), "{again:?}");
    hide(&mut lane, &other).await.unwrap();
    assert_eq!(history::list(&lane.client, &page(9)).await.unwrap(), []);
    assert_eq!(history::get(&lane.client, &other).await.unwrap(), None);
}

#[tokio::test]
async fn m30_several_at_once_move_each_job_once() {
    let mut lane = Lane::new().await;
    let mut all = BTreeSet::new();
    for number in 0..20 {
        let id = ended(&mut lane, &format!("db.t{number}"), &End::completed()).await;
        age(&lane, &id, 31).await;
        all.insert(id);
    }
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = lane.database.client().await;
        running.spawn(async move {
            let mut moved = 0;
            for _ in 0..20 {
                moved += batch(&client, Old::Jobs, 30, 3).await.unwrap();
            }
            moved
        });
    }
    assert_eq!(running.join_all().await.iter().sum::<u64>(), 20);
    let found = history::list(&lane.client, &page(100)).await.unwrap();
    assert_eq!(ids(&found).into_iter().collect::<BTreeSet<_>>(), all);
    assert!(found.iter().all(|past| past.archived_at.is_some()));
}

#[tokio::test]
async fn m30_a_key_may_be_used_again_once_its_job_is_archived() {
    let mut lane = Lane::new().await;
    let mut asked = submission("db.t");
    asked.idempotency_key = Some("nightly".to_owned());
    let first = lane.try_submit(&asked).await.unwrap();
    let maintenance::Submitted::New(first) = first else {
        panic!("{first:?}")
    };
    let claimed = lane.claim(&first).await;
    lane.finish(&claimed, &End::completed()).await.unwrap();
    let again = lane.try_submit(&asked).await.unwrap();
    assert!(
        matches!(again, maintenance::Submitted::Existing(_)),
        "{again:?}"
    );
    age(&lane, &first, 31).await;
    assert_eq!(archive(&lane).await, 1);
    let again = lane.try_submit(&asked).await.unwrap();
    assert!(matches!(again, maintenance::Submitted::New(_)), "{again:?}");
}

#[tokio::test]
async fn m30_settled_deletions_and_intents_go_and_what_waits_stays() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.pending_deletions (catalog, table_uuid, path, reason, job_id, \
               delete_after, state, note, changed_at) \
               select 'lakehouse', 'uuid', state || days, 'expired', 'job', now(), state, 'why', \
               now() - make_interval(days => days) \
               from unnest('{pending,deleted,kept}'::text[]) state, unnest('{9,31,99}'::int[]) days; \
               insert into snowpack.expiry_intents (job_id, attempt_id, table_uuid, \
               planned_location, ids, grace_ms, created_at, closed_at) \
               select 'job', 'attempt', 'uuid', 'file:/m', '[]', 0, now() - interval '1 year', \
               now() - make_interval(days => days) from unnest('{9,31,99,null}'::int[]) days";
    lane.client.batch_execute(sql).await.unwrap();
    // The oldest first.
    for want in [3, 1, 0] {
        let gone = batch(&lane.client, Old::Deletions, 30, 3).await.unwrap();
        assert_eq!(gone, want);
    }
    let left = "select string_agg(path, ' ' order by path) from snowpack.pending_deletions";
    let left: String = lane.client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, "deleted9 kept9 pending31 pending9 pending99");
    for want in [1, 1, 0] {
        let gone = batch(&lane.client, Old::Intents, 30, 1).await.unwrap();
        assert_eq!(gone, want);
    }
    let left = "select count(*) from snowpack.expiry_intents where closed_at is null \
                or closed_at > now() - interval '10 days'";
    assert_eq!(lane.count(left).await, 2);
}

#[tokio::test]
async fn m30_old_history_health_and_runs_go_but_each_tables_newest_health_stays() {
    let mut lane = Lane::new().await;
    for (name, days) in [("db.new", 100), ("db.old", 800)] {
        let id = ended(&mut lane, name, &End::completed()).await;
        age(&lane, &id, days).await;
    }
    assert_eq!(archive(&lane).await, 2);
    assert_eq!(batch(&lane.client, Old::History, 730, 9).await.unwrap(), 1);
    let left = history::list(&lane.client, &page(9)).await.unwrap();
    assert_eq!(left[0].job.table, table("db.new"));

    let sql = "insert into snowpack.health_snapshots (database_name, table_name, assessed_at, payload) \
               select 'db', t, now() - make_interval(days => d), '{}' from (values \
               ('quiet', 200), ('quiet', 150), ('busy', 200), ('busy', 100), ('busy', 10), ('busy', 1)) \
               as snapshots (t, d); \
               insert into snowpack.orchestrator_runs (started_at, status, completed_at) values \
               (now() - interval '100 days', 'completed', now() - interval '100 days'), \
               (now() - interval '100 days', 'running', null), \
               (now() - interval '9 days', 'completed', now() - interval '9 days'); \
               insert into snowpack.orchestrator_decisions (run_id, database_name, table_name, \
               decision, reason, why) select run_id, 'db', 't', 'skip', 'healthy', 'x' \
               from snowpack.orchestrator_runs";
    lane.client.batch_execute(sql).await.unwrap();
    // One at a time: a batch that is full says that there may be more.
    for want in [1, 1, 1, 0] {
        let gone = batch(&lane.client, Old::Health, 90, 1).await.unwrap();
        assert_eq!(gone, want);
    }
    let sql = "select string_agg(table_name || (now()::date - assessed_at::date), ' ' order by assessed_at) \
               from snowpack.health_snapshots";
    let kept: String = lane.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(kept, "quiet150 busy10 busy1");
    assert_eq!(batch(&lane.client, Old::Runs, 90, 9).await.unwrap(), 1);
    assert_eq!(
        lane.count("select count(*) from snowpack.orchestrator_runs")
            .await,
        2
    );
    assert_eq!(
        lane.count("select count(*) from snowpack.orchestrator_decisions")
            .await,
        2
    );
}

/// Submits jobs for other tables and for the tables whose jobs are being put away, while that is
/// not committed, and waits for nobody.
async fn submissions_go_on(lane: &Lane, when: &str) {
    let mut client = lane.database.client().await;
    let limit = "set lock_timeout = '100ms'";
    client.batch_execute(limit).await.unwrap();
    for name in [format!("db.{when}"), "db.t0".to_owned()] {
        let tx = client.transaction().await.unwrap();
        maintenance::submit(&tx, &submission(&name)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let rest = "delete from snowpack.job_queue; delete from snowpack.table_locks; \
                delete from snowpack.jobs where status = 'pending'";
    client.batch_execute(rest).await.unwrap();
}

#[tokio::test]
async fn q65_putting_jobs_away_is_bounded_and_holds_up_no_submission() {
    let mut lane = Lane::new().await;
    for number in 0..23 {
        let id = ended(&mut lane, &format!("db.t{number}"), &End::completed()).await;
        age(&lane, &id, 800).await;
    }
    for (old, days, when) in [(Old::Jobs, 30, "archived"), (Old::History, 730, "deleted")] {
        let mut counts = Vec::new();
        loop {
            let mut mover = lane.database.client().await;
            let sql = "select pg_backend_pid()";
            let pid: i32 = mover.query_one(sql, &[]).await.unwrap().get(0);
            let tx = mover.transaction().await.unwrap();
            counts.push(batch(&tx, old, days, 10).await.unwrap());
            submissions_go_on(&lane, when).await;
            // What it holds on tables keeps nobody from reading or writing them.
            let sql = format!(
                "select count(*) from pg_locks where pid = {pid} and locktype = 'relation' \
                 and mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')"
            );
            assert_eq!(lane.count(&sql).await, 0, "{when}");
            tx.commit().await.unwrap();
            if *counts.last().unwrap() < 10 {
                break;
            }
        }
        assert_eq!(
            counts,
            [10, 10, 3],
            "{when}: no more than asked for at once"
        );
    }
    let left = "select (select count(*) from snowpack.jobs) \
                + (select count(*) from snowpack.job_history) \
                + (select count(*) from snowpack.job_actions)";
    assert_eq!(lane.count(left).await, 0);
}
