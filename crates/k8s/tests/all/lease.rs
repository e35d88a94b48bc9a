//! Two processes and one Lease.

use std::time::Duration;

use k8s::lease::{self, Lease, Turn};
use testkit::until;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::place::Place;

const RULES: [&str; 1] = ["leases.coordination.k8s.io=get,create,update"];
/// As short as a Lease can be.
const HELD_FOR: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_hours(1);

fn theirs(holder: &str) -> Turn {
    Turn::Theirs(holder.to_owned())
}

#[tokio::test]
async fn one_of_two_holds_it_and_the_other_takes_it_over_once_it_is_not_renewed() {
    let place = Place::new().await;
    let cluster = place.account("api", &RULES).await;
    let lease = |holder: &str| Lease::new(cluster.clone(), "loops", holder, HELD_FOR);
    let (mut one, mut two) = (lease("one"), lease("two"));
    assert_eq!(one.look().await.unwrap(), Turn::Mine);
    assert_eq!(two.look().await.unwrap(), theirs("one"));
    assert_eq!(one.look().await.unwrap(), Turn::Mine, "renewed");
    // Nobody renews it any more.
    until("the other has it", async || {
        two.look().await.unwrap() == Turn::Mine
    })
    .await;
    let spec = "{.spec.holderIdentity} {.spec.leaseTransitions} {.spec.leaseDurationSeconds}";
    assert_eq!(place.value("lease/loops", spec), "two 1 1");
    assert_eq!(one.look().await.unwrap(), theirs("two"));
}

#[tokio::test]
async fn a_lease_given_back_is_anybody_s_at_once() {
    let place = Place::new().await;
    let cluster = place.account("api", &RULES).await;
    let lease = |holder: &str| Lease::new(cluster.clone(), "loops", holder, LONG);
    let (mut one, mut two) = (lease("one"), lease("two"));
    assert_eq!(one.look().await.unwrap(), Turn::Mine);
    two.release().await.unwrap();
    assert_eq!(
        two.look().await.unwrap(),
        theirs("one"),
        "not theirs to give back"
    );
    one.release().await.unwrap();
    assert_eq!(two.look().await.unwrap(), Turn::Mine);
    assert_eq!(one.look().await.unwrap(), theirs("two"));
}

#[tokio::test]
async fn of_many_who_want_it_at_once_one_gets_it() {
    let place = Place::new().await;
    let cluster = place.account("api", &RULES).await;
    let names: Vec<String> = (0..8).map(|number| format!("holder-{number}")).collect();
    let mut looks = tokio::task::JoinSet::new();
    for name in names {
        let mut lease = Lease::new(cluster.clone(), "loops", &name, LONG);
        looks.spawn(async move { lease.look().await.unwrap() });
    }
    let turns = looks.join_all().await;
    let mine = turns.iter().filter(|turn| **turn == Turn::Mine).count();
    assert_eq!(mine, 1, "{turns:?}");
}

#[tokio::test]
async fn whoever_is_told_to_stop_gives_it_back_and_without_the_right_nobody_is_told_to_wait() {
    let place = Place::new().await;
    let cluster = place.account("api", &RULES).await;
    let (tell, mut turn) = watch::channel(Turn::Unknown);
    let stop = CancellationToken::new();
    let lease = Lease::new(cluster, "loops", "one", LONG);
    let kept = lease::keep(lease, place.metrics.clone(), tell, stop.clone());
    let kept = tokio::spawn(kept);
    turn.wait_for(|turn| *turn == Turn::Mine).await.unwrap();
    stop.cancel();
    kept.await.unwrap();
    assert_eq!(place.value("lease/loops", "{.spec.holderIdentity}"), "");

    let stranger = place.account("stranger", &[]).await;
    let (tell, turn) = watch::channel(Turn::Unknown);
    let stop = CancellationToken::new();
    let lease = Lease::new(stranger, "loops", "two", LONG);
    let kept = lease::keep(lease, place.metrics.clone(), tell, stop.clone());
    let kept = tokio::spawn(kept);
    let refused = r#"snowpack_kubernetes_calls_total{call="lease",result="forbidden"}"#;
    until("it was refused", async || 0 < place.called(refused)).await;
    assert_eq!(*turn.borrow(), Turn::Unknown);
    stop.cancel();
    kept.await.unwrap();
}
