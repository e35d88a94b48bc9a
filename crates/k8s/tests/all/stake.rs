//! The pod's marks.

use k8s::stake::{self, Board};
use testkit::until;
use tokio_util::sync::CancellationToken;

use super::place::Place;

const MARKS: &str = "{.metadata.annotations.controller\\.kubernetes\\.io/pod-deletion-cost} \
                     {.metadata.annotations.cluster-autoscaler\\.kubernetes\\.io/safe-to-evict}";

const PATCHED: &str = r#"snowpack_kubernetes_calls_total{call="patch_pod",result="ok"}"#;
const FORBIDDEN: &str = r#"snowpack_kubernetes_calls_total{call="patch_pod",result="forbidden"}"#;

async fn marked(place: &Place, pod: &str, want: &str) {
    until(&format!("the pod is marked {want}"), async || {
        place.value(&format!("pod/{pod}"), MARKS) == want
    })
    .await;
}

#[tokio::test]
async fn a_pod_s_marks_follow_its_work_with_no_more_rights_than_to_patch_pods() {
    let place = Place::new().await;
    let cluster = place.account("worker", &["pods=get,patch"]).await;
    let (board, stop) = (Board::default(), CancellationToken::new());
    let pod = place.pod("worker-0");
    let other = place.pod("other");
    let (kept_board, metrics) = (board.clone(), place.metrics.clone());
    let kept = stake::keep(cluster, pod, kept_board, metrics, stop.clone());
    let kept = tokio::spawn(kept);
    marked(&place, "worker-0", "-1 true").await;
    let (one, two) = (board.begin(), board.begin());
    marked(&place, "worker-0", "128 false").await;
    drop((one, two));
    marked(&place, "worker-0", "-1 true").await;
    // The API server shows a patch before its answer is counted here.
    until("three patches are counted", async || {
        3 <= place.called(PATCHED)
    })
    .await;
    assert_eq!(
        place.called(PATCHED),
        3,
        "what changes at once is one patch"
    );
    assert_eq!(place.value(&format!("pod/{}", other.name), MARKS), " ");
    stop.cancel();
    kept.await.unwrap();
}

#[tokio::test]
async fn without_the_right_nothing_is_marked_until_it_is_given() {
    let place = Place::new().await;
    let cluster = place.account("worker", &[]).await;
    let (board, stop) = (Board::default(), CancellationToken::new());
    let _busy = board.begin();
    let metrics = place.metrics.clone();
    let kept = stake::keep(cluster, place.pod("worker-0"), board, metrics, stop.clone());
    let kept = tokio::spawn(kept);
    until("it was refused", async || 0 < place.called(FORBIDDEN)).await;
    assert_eq!(place.value("pod/worker-0", MARKS), " ");
    place
        .kubernetes
        .allow(&place.namespace, "worker", &["pods=patch"])
        .await;
    until("it is marked busy", async || {
        place.value("pod/worker-0", MARKS).ends_with(" false")
    })
    .await;
    stop.cancel();
    kept.await.unwrap();
}

#[tokio::test]
async fn a_pod_that_took_the_name_since_is_left_alone() {
    let place = Place::new().await;
    let cluster = place.account("worker", &["pods=get,patch"]).await;
    let mut pod = place.pod("worker-0");
    pod.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    let stop = CancellationToken::new();
    let metrics = place.metrics.clone();
    let kept = stake::keep(cluster, pod, Board::default(), metrics, stop.clone());
    let kept = tokio::spawn(kept);
    let refused = r#"snowpack_kubernetes_calls_total{call="patch_pod",result="invalid"}"#;
    until("it was refused", async || 0 < place.called(refused)).await;
    assert_eq!(place.value("pod/worker-0", MARKS), " ");
    stop.cancel();
    kept.await.unwrap();
}
