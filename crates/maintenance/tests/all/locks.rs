//! The table's lock belongs to its job from submission to the terminal state.

use maintenance::{Error, Submitted};
use model::JobStatus;
use queue::{End, HandBack};

use crate::lane::{Lane, submission};

#[tokio::test]
async fn m19_q41_a_live_jobs_lock_is_kept_whatever_becomes_of_its_lease() {
    let mut lane = Lane::new().await;
    let id = lane.submit("db.t").await;
    let held = async |lane: &mut Lane| {
        let refused = lane.try_submit(&submission("db.t")).await.unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
    };
    held(&mut lane).await;
    lane.claim(&id).await;
    held(&mut lane).await;
    lane.expire(&id).await;
    let sql = "update snowpack.table_locks set expires_at = now() - interval '1 day'";
    lane.client.execute(sql, &[]).await.unwrap();
    held(&mut lane).await;
    let claimed = lane.claim(&id).await;
    let tx = lane.client.transaction().await.unwrap();
    let back = HandBack::failed(std::time::Duration::from_mins(1), "later");
    maintenance::queue()
        .hand_back(&tx, claimed.fence, &back)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lane.status(&id).await, JobStatus::Pending);
    held(&mut lane).await;
}

#[tokio::test]
async fn m19_a_lock_left_by_a_job_that_is_not_live_is_taken_over() {
    let mut lane = Lane::new().await;
    for left_by in ["completed", "exhausted", "deleted"] {
        let name = format!("db.{left_by}");
        let id = lane.submit(&name).await;
        let claimed = lane.claim(&id).await;
        let end = if left_by == "exhausted" {
            End::failed(model::EndReason::Exhausted, "no luck")
        } else {
            End::completed()
        };
        lane.finish(&claimed, &end).await.unwrap();
        if left_by == "deleted" {
            let sql = "update snowpack.jobs set deleted_at = now() where job_id = $1";
            lane.client.execute(sql, &[&id.as_str()]).await.unwrap();
        }
        let sql = "insert into snowpack.table_locks (table_key, holder, expires_at) \
                   values ($1, $2, now() + interval '1 hour')";
        lane.client
            .execute(sql, &[&name, &id.as_str()])
            .await
            .unwrap();
        let submitted = lane.try_submit(&submission(&name)).await.unwrap();
        let Submitted::New(next) = submitted else {
            panic!("{submitted:?}")
        };
        let sql = "select holder from snowpack.table_locks where table_key = $1";
        let holder: String = lane.client.query_one(sql, &[&name]).await.unwrap().get(0);
        assert_eq!(holder, next.as_str(), "left by a job that was {left_by}");
    }
}
