//! Of many replicas one does a pass, not too often, and a dead one is in nobody's way.

use std::time::Duration;

use maintenance::loops::{self, Outcome};

use crate::lane::Lane;

const EVERY: Duration = Duration::from_mins(5);

#[tokio::test]
async fn of_several_replicas_one_has_the_turn_while_it_works() {
    let lane = Lane::new().await;
    let (mut one, mut other) = (lane.database.client().await, lane.database.client().await);
    let first = one.transaction().await.unwrap();
    assert!(loops::turn(&first, "sync", EVERY).await.unwrap());
    let second = other.transaction().await.unwrap();
    assert!(!loops::turn(&second, "sync", EVERY).await.unwrap());
    assert!(
        loops::turn(&second, "other", EVERY).await.unwrap(),
        "loops do not wait for one another"
    );
    second.rollback().await.unwrap();
    loops::started(&lane.client, "sync", "replica-1")
        .await
        .unwrap();
    let running = loops::list(&lane.client).await.unwrap();
    assert_eq!((running.len(), running[0].ended_at), (1, None));
    loops::ended(&lane.client, "sync", Outcome::Partial, "1 namespace failed")
        .await
        .unwrap();
    first.commit().await.unwrap();

    let early = other.transaction().await.unwrap();
    assert!(
        !loops::turn(&early, "sync", EVERY).await.unwrap(),
        "too early"
    );
    assert!(loops::turn(&early, "sync", Duration::ZERO).await.unwrap());
    drop(early);
    let pass = loops::list(&lane.client).await.unwrap().remove(0);
    assert_eq!(pass.holder, "replica-1");
    assert_eq!(pass.outcome.as_deref(), Some("partial"));
    assert_eq!(pass.detail.as_deref(), Some("1 namespace failed"));
    assert!(pass.ended_at.unwrap() >= pass.started_at);

    lane.client
        .execute(
            "update snowpack.loops set started_at = started_at - interval '5 minutes'",
            &[],
        )
        .await
        .unwrap();
    let due = other.transaction().await.unwrap();
    assert!(loops::turn(&due, "sync", EVERY).await.unwrap(), "due again");
}

#[tokio::test]
async fn a_replica_that_is_killed_in_its_turn_gives_it_back() {
    let lane = Lane::new().await;
    let (mut one, mut other) = (lane.database.client().await, lane.database.client().await);
    let pid: i32 = one
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let tx = one.transaction().await.unwrap();
    assert!(loops::turn(&tx, "sync", EVERY).await.unwrap());
    let kill = "select pg_terminate_backend($1)";
    lane.client.execute(kill, &[&pid]).await.unwrap();
    testkit::until("the turn is free", async || {
        let tx = other.transaction().await.unwrap();
        loops::turn(&tx, "sync", EVERY).await.unwrap()
    })
    .await;

    // Killed after it had begun: nobody ended it, and the next one comes when it is due.
    loops::started(&lane.client, "sync", "replica-1")
        .await
        .unwrap();
    let early = other.transaction().await.unwrap();
    assert!(!loops::turn(&early, "sync", EVERY).await.unwrap());
    drop(early);
    loops::started(&lane.client, "sync", "replica-2")
        .await
        .unwrap();
    let pass = loops::list(&lane.client).await.unwrap().remove(0);
    assert_eq!((pass.holder.as_str(), pass.outcome), ("replica-2", None));
}
