//! The ledger: files are known before they are written, and forgotten by nobody.

use maintenance::{Error, ledger};
use model::JobId;
use queue::{Claimed, End};

use crate::lane::Lane;

const UUID: &str = "4e0c0000-0000-7000-8000-000000000001";

async fn reserve(lane: &mut Lane, claimed: &Claimed, paths: &[&str]) -> Result<(), Error> {
    let files: Vec<(&str, &str)> = paths.iter().map(|path| (*path, "data")).collect();
    let tx = lane.client.transaction().await.unwrap();
    ledger::reserve(&tx, &claimed.fence, UUID, &files).await?;
    tx.commit().await.unwrap();
    Ok(())
}

async fn mark(lane: &mut Lane, claimed: &Claimed, paths: &[&str]) -> Result<u64, Error> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let tx = lane.client.transaction().await.unwrap();
    let marked = ledger::mark(&tx, &claimed.fence, &paths).await?;
    tx.commit().await.unwrap();
    Ok(marked)
}

async fn sweep(lane: &Lane, bound: i64) -> (u64, u64) {
    let swept = ledger::sweep(&lane.client, "lakehouse", bound)
        .await
        .unwrap();
    (swept.moved, swept.forgotten)
}

async fn started(lane: &mut Lane) -> (JobId, Claimed) {
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    (id, claimed)
}

#[tokio::test]
async fn m11_i2_a_stale_attempt_can_neither_reserve_nor_mark() {
    let mut lane = Lane::new().await;
    let (id, stale) = started(&mut lane).await;
    reserve(&mut lane, &stale, &["f/a"]).await.unwrap();
    lane.expire(&id).await;
    lane.claim(&id).await;
    for refused in [
        reserve(&mut lane, &stale, &["f/b"]).await.unwrap_err(),
        mark(&mut lane, &stale, &["f/a"]).await.unwrap_err(),
    ] {
        assert!(
            matches!(refused, Error::Queue(queue::Error::Replaced)),
            "{refused:?}"
        );
    }
    assert_eq!(
        lane.count("select count(*) from snowpack.attempt_files")
            .await,
        1
    );
    let sql = "select count(*) from snowpack.attempt_files where committed_at is not null";
    assert_eq!(lane.count(sql).await, 0);
}

#[tokio::test]
async fn many_files_are_reserved_at_once_and_again() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    let paths: Vec<String> = (0..2_345).map(|number| format!("f/{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    reserve(&mut lane, &claimed, &paths).await.unwrap();
    reserve(&mut lane, &claimed, &paths[..10]).await.unwrap();
    reserve(&mut lane, &claimed, &["f/1", "f/1", "f/new"])
        .await
        .unwrap();
    assert_eq!(
        lane.count("select count(*) from snowpack.attempt_files")
            .await,
        2_346
    );
    assert_eq!(mark(&mut lane, &claimed, &paths).await.unwrap(), 2_345);
}

#[tokio::test]
async fn another_attempts_path_is_refused() {
    let mut lane = Lane::new().await;
    let (id, first) = started(&mut lane).await;
    reserve(&mut lane, &first, &["f/a"]).await.unwrap();
    lane.expire(&id).await;
    let second = lane.claim(&id).await;
    let refused = reserve(&mut lane, &second, &["f/a", "f/b"])
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::PathTaken(1)), "{refused:?}");
    assert_eq!(
        lane.count("select count(*) from snowpack.attempt_files")
            .await,
        1
    );
}

#[tokio::test]
async fn only_files_of_attempts_that_are_over_are_swept() {
    let mut lane = Lane::new().await;
    let (id, first) = started(&mut lane).await;
    reserve(&mut lane, &first, &["f/a", "f/b", "f/c"])
        .await
        .unwrap();
    mark(&mut lane, &first, &["f/c"]).await.unwrap();
    assert_eq!(sweep(&lane, 100).await, (0, 0), "the attempt is current");
    lane.expire(&id).await;
    assert_eq!(
        sweep(&lane, 100).await,
        (0, 0),
        "nobody has taken the job over"
    );
    let second = lane.claim(&id).await;
    reserve(&mut lane, &second, &["f/d"]).await.unwrap();
    assert_eq!(sweep(&lane, 1).await.0, 1, "bounded");
    assert_eq!(sweep(&lane, 100).await, (1, 1));
    assert_eq!(sweep(&lane, 100).await, (0, 0));
    mark(&mut lane, &second, &["f/d"]).await.unwrap();
    lane.finish(&second, &End::completed()).await.unwrap();
    assert_eq!(
        sweep(&lane, 100).await,
        (0, 1),
        "committed files are the table's"
    );

    let sql = "select path from snowpack.pending_deletions where catalog = 'lakehouse' \
               and database_name = 'db' and table_name = 't' and table_uuid = $1 \
               and state = 'pending' and reason = 'attempt' and job_id = $2 \
               and delete_after = found_at + interval '24 hours' order by path";
    let rows = lane
        .client
        .query(sql, &[&UUID, &id.as_str()])
        .await
        .unwrap();
    let pending: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(pending, ["f/a", "f/b"]);
    assert_eq!(
        lane.count("select count(*) from snowpack.attempt_files")
            .await,
        0
    );
}

#[tokio::test]
async fn a_mark_being_written_is_not_swept_away() {
    let mut lane = Lane::new().await;
    let (id, claimed) = started(&mut lane).await;
    reserve(&mut lane, &claimed, &["f/a"]).await.unwrap();
    let other = lane.database.client().await;
    let tx = lane.client.transaction().await.unwrap();
    ledger::mark(&tx, &claimed.fence, &["f/a".to_owned()])
        .await
        .unwrap();
    maintenance::queue()
        .finish(&tx, claimed.fence, &End::completed())
        .await
        .unwrap();
    let swept = ledger::sweep(&other, "lakehouse", 100).await.unwrap();
    assert_eq!((swept.moved, swept.forgotten), (0, 0));
    tx.commit().await.unwrap();
    assert_eq!(sweep(&lane, 100).await, (0, 1));
    assert_eq!(
        lane.count("select count(*) from snowpack.pending_deletions")
            .await,
        0
    );
    assert_eq!(lane.status(&id).await, model::JobStatus::Completed);
}

#[tokio::test]
async fn sweeps_side_by_side_move_each_file_once() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    let paths: Vec<String> = (0..200).map(|number| format!("f/{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    reserve(&mut lane, &claimed, &paths).await.unwrap();
    lane.finish(&claimed, &End::cancelled()).await.unwrap();
    let mut sweeps = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = lane.database.client().await;
        sweeps.spawn(async move {
            let mut moved = 0;
            loop {
                let swept = ledger::sweep(&client, "lakehouse", 7).await.unwrap();
                if swept.moved == 0 {
                    return moved;
                }
                moved += swept.moved;
            }
        });
    }
    let moved: u64 = sweeps.join_all().await.iter().sum();
    let rest = sweep(&lane, 1_000).await.0;
    assert_eq!(moved + rest, 200);
    assert_eq!(
        lane.count("select count(*) from snowpack.pending_deletions")
            .await,
        200
    );
}
