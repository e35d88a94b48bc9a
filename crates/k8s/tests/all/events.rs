//! Events on the pod.

use k8s::events::{self, Events, Note};
use tokio_util::sync::CancellationToken;

use super::place::Place;

const DROPPED: &str = "snowpack_kubernetes_events_dropped_total";

fn note(number: usize, warning: bool) -> Note {
    Note {
        warning,
        reason: if warning { "JobFailed" } else { "JobClaimed" },
        action: "Run",
        text: format!("job {number}"),
    }
}

#[tokio::test]
async fn events_appear_on_the_pod_where_kubectl_looks_for_them() {
    let place = Place::new().await;
    let rules = ["events.events.k8s.io=create,patch"];
    let cluster = place.account("worker", &rules).await;
    let pod = place.pod("worker-0");
    let (events, notes) = Events::new(&place.metrics);
    events.say(note(1, false));
    events.say(note(2, true));
    drop(events);
    let (metrics, stop) = (place.metrics.clone(), CancellationToken::new());
    let uid = pod.uid.clone().unwrap();
    events::send(cluster, pod, "snowpack-worker", metrics, notes, stop).await;

    let created = r#"snowpack_kubernetes_calls_total{call="create_event",result="ok"}"#;
    assert_eq!(place.called(created), 2, "{}", place.page());

    // As `kubectl describe pod` asks, through the older API.
    let field = format!("--field-selector=involvedObject.uid={uid}");
    let found = place
        .kubernetes
        .json(&["-n", &place.namespace, "get", "events", &field]);
    let mut found: Vec<String> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            ["type", "reason", "message", "reportingComponent"]
                .map(|field| event[field].as_str().unwrap().to_owned())
                .join(" ")
        })
        .collect();
    found.sort();
    let want = [
        "Normal JobClaimed job 1 snowpack-worker",
        "Warning JobFailed job 2 snowpack-worker",
    ];
    assert_eq!(found, want);
    assert_eq!(place.called(DROPPED), 0);
}

#[tokio::test]
async fn without_the_right_events_are_lost_and_counted_and_nobody_waits() {
    let place = Place::new().await;
    let cluster = place.account("worker", &[]).await;
    let (events, notes) = Events::new(&place.metrics);
    (0..40).for_each(|number| events.say(note(number, false)));
    drop(events);
    let stop = CancellationToken::new();
    // The process ends: what is refused is not paused after.
    stop.cancel();
    let (pod, metrics) = (place.pod("worker-0"), place.metrics.clone());
    events::send(cluster, pod, "snowpack-worker", metrics, notes, stop).await;
    let refused = r#"snowpack_kubernetes_calls_total{call="create_event",result="forbidden"}"#;
    assert_eq!((place.called(refused), place.called(DROPPED)), (25, 15));
}
