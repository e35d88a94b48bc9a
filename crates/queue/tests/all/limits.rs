//! Case 59: under short limits of the server's a statement takes effect, or fails whole and can be
//! tried again.

use futures::future::join_all;
use model::Advice;
use queue::{Cursor, End, Enqueue, Error, Fence, HandBack, Lock};
use tokio_postgres::Client;

use crate::lane::{LEASE, Lane};

/// A lane in a database with the limits of case 59; connections made from now on have them.
async fn limited() -> Lane {
    let lane = Lane::text().await;
    let name = lane.database.name();
    lane.run(&format!(
        "alter database {name} set statement_timeout = '2s';
         alter database {name} set lock_timeout = '500ms'"
    ))
    .await;
    lane
}

/// Everything there is, to compare.
async fn everything(lane: &Lane) -> String {
    let sql = "select concat(
        (select string_agg(q::text, e'\\n' order by job_id) from lane.job_queue as q),
        (select string_agg(j::text, e'\\n' order by job_id) from lane.jobs as j),
        (select string_agg(l::text, e'\\n' order by table_key) from lane.table_locks as l))";
    lane.client.query_one(sql, &[]).await.unwrap().get(0)
}

/// What waits for somebody else's row.
#[derive(Debug, Clone, Copy)]
enum Waits {
    Finish,
    FinishMany,
    HandBack,
    Cancel,
    Lock,
    Enqueue,
}

/// Tries it once, whole: committed, or failed with nothing left of it.
async fn once(lane: &Lane, what: Waits, fences: &[Fence]) -> Result<(), Error> {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let queue = &lane.queue;
    let fence = || fences[0].for_retry();
    match what {
        Waits::Finish => queue.finish(&tx, fence(), &End::completed()).await?,
        Waits::FinishMany => {
            let ended = fences.iter().map(|f| (f.for_retry(), End::completed()));
            let answers = queue.finish_all(&tx, ended.collect()).await?;
            assert_eq!(answers.len(), fences.len());
        }
        Waits::HandBack => {
            let back = HandBack::shutdown();
            queue.hand_back(&tx, fence(), &back).await?;
        }
        Waits::Cancel => drop(queue.cancel(&tx, &lane.id(900)).await?),
        Waits::Lock => {
            let held = queue.lock(&tx, "db.held", &lane.id(901)).await?;
            assert_eq!(held, Lock::Held { by: lane.id(902) });
        }
        Waits::Enqueue => queue.enqueue(&tx, &[Enqueue::new(lane.id(903))]).await?,
    }
    tx.commit().await.map_err(|source| Error::Database {
        doing: "commit",
        source,
    })
}

/// What somebody has to hold so that it waits.
fn held(what: Waits) -> &'static str {
    match what {
        Waits::Finish | Waits::HandBack => {
            "select 1 from lane.job_queue where job_id = 'job-000001' for update"
        }
        Waits::FinishMany => "select 1 from lane.job_queue where job_id = 'job-000057' for update",
        Waits::Cancel => "select 1 from lane.job_queue where job_id = 'job-000900' for update",
        Waits::Lock => "select 1 from lane.table_locks for update",
        Waits::Enqueue => "select 1 from lane.jobs where job_id = 'job-000903' for update",
    }
}

async fn hold(lane: &Lane, what: Waits) -> Client {
    let client = lane.database.client().await;
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(held(what)).await.unwrap();
    client
}

/// Fails without a trace while the row is held, and works once it is not.
async fn fails_whole_then_works(what: Waits) {
    let lane = limited().await;
    lane.add_many(100).await;
    let fences: Vec<Fence> = lane
        .claim(100)
        .await
        .into_iter()
        .map(|claimed| claimed.fence)
        .collect();
    lane.add(&[lane.item(900)]).await;
    let mut key = lane.item(902);
    key.concurrency_key = Some("db.held".to_owned());
    lane.add(&[key]).await;
    lane.run("insert into lane.jobs (job_id) values ('job-000903')")
        .await;
    let before = everything(&lane).await;
    let holder = hold(&lane, what).await;
    let error = once(&lane, what, &fences).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater, "{what:?}: {error:?}");
    assert_eq!(everything(&lane).await, before, "{what:?} left something");
    holder.batch_execute("rollback").await.unwrap();
    once(&lane, what, &fences).await.unwrap();
}

#[tokio::test]
async fn q59_a_statement_that_runs_into_a_limit_fails_whole_and_works_later() {
    let all = [
        Waits::Finish,
        Waits::FinishMany,
        Waits::HandBack,
        Waits::Cancel,
        Waits::Lock,
        Waits::Enqueue,
    ];
    join_all(all.map(fails_whole_then_works)).await;
}

#[tokio::test]
async fn q59_statements_about_others_rows_wait_for_nobody_and_meet_no_limit() {
    let lane = limited().await;
    let mut items: Vec<Enqueue> = (1..=40).map(|number| lane.item(number)).collect();
    for item in &mut items {
        item.concurrency_key = Some(format!("db.{}", item.job));
    }
    lane.add(&items).await;
    let claimed = lane.claim(20).await;
    lane.expire_all().await;
    // Half of what there is to claim, to reset and to renew is held by somebody.
    let holder = lane.database.client().await;
    let every_second = "begin;
        select 1 from lane.job_queue where substr(job_id, 5)::int % 2 = 0 for update;
        select 1 from lane.table_locks where substr(holder, 5)::int % 2 = 0 for update";
    holder.batch_execute(every_second).await.unwrap();
    let client = lane.database.client().await;
    let queue = &lane.queue;
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.fence.ids()).collect();
    assert_eq!(queue.renew(&client, &ids, LEASE).await.unwrap().len(), 20);
    let expire = "update lane.job_queue set visible_at = now() - interval '1 second'
                  where claimed_at is not null and substr(job_id, 5)::int % 2 = 1";
    client.batch_execute(expire).await.unwrap();
    let cursor = &mut Cursor::default();
    let swept = queue.sweep(&client, 1_000, cursor).await.unwrap();
    assert_eq!(swept.reset, 10);
    let mut worker = lane.claimer("w");
    assert_eq!(worker.claim(&client, 40).await.unwrap().len(), 20);
    let one = queue.claim_one(&client, &lane.id(22), LEASE, "w").await;
    assert!(one.unwrap().is_none());
    assert_eq!(queue.depth(&client, &[], 1_000).await.unwrap().running, 20);
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(
        lane.claimer("w").claim(&client, 40).await.unwrap().len(),
        20
    );
}
