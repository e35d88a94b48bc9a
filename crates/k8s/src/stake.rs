//! The pod's marks: what would be lost if the pod went now, for those who choose which pod goes.
//!
//! A ReplicaSet that shrinks takes the pod with the lowest `pod-deletion-cost` first; the cluster
//! autoscaler spares pods that are not `safe-to-evict`. The cost is the seconds of work that runs,
//! so that of two busy pods that one goes which loses less. [`Board`] holds what runs, [`marks`]
//! decides, [`keep`] writes. Marks are hints: nobody waits for them, and nothing is lost without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Kind;
use crate::trouble::Troubles;
use crate::{Cluster, Error, Metrics, Pod};

/// Read by the ReplicaSet controller: an int32, 0 where it is absent.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Read by the cluster autoscaler.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Below a pod that says nothing, which may be busy.
const IDLE_COST: i32 = -1;
/// A job that has just begun has cost a claim already.
const JOB_SECONDS: u64 = 64;
/// Between two patches.
const PATCH_EVERY: Duration = Duration::from_secs(5);

/// What a pod says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub deletion_cost: i32,
    pub safe_to_evict: bool,
}

/// What is at stake when work runs that began so long ago. Rounded down by a quarter at most, so
/// that hours of work take a few dozen patches.
pub fn marks(running: impl IntoIterator<Item = Duration>) -> Marks {
    let mut seconds: u64 = 0;
    for elapsed in running {
        let job = JOB_SECONDS.saturating_add(elapsed.as_secs());
        seconds = seconds.saturating_add(job);
    }
    Marks {
        deletion_cost: match seconds {
            0 => IDLE_COST,
            _ => i32::try_from(rounded(seconds)).unwrap_or(i32::MAX),
        },
        safe_to_evict: seconds == 0,
    }
}

/// The three leading binary digits of a number, and zeros.
fn rounded(number: u64) -> u64 {
    let rest = number.checked_ilog2().unwrap_or(0).saturating_sub(2);
    number >> rest << rest
}

/// What runs in this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board {
    pieces: Arc<watch::Sender<Vec<(u64, Instant)>>>,
    next: Arc<AtomicU64>,
}

/// Work that runs, until this is dropped.
#[derive(Debug)]
pub struct Piece {
    number: u64,
    board: Board,
}

impl Board {
    /// Notes that a piece of work begins now.
    pub fn begin(&self) -> Piece {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.pieces
            .send_modify(|pieces| pieces.push((number, Instant::now())));
        Piece {
            number,
            board: self.clone(),
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.board
            .pieces
            .send_modify(|pieces| pieces.retain(|(number, _)| *number != self.number));
    }
}

/// Keeps the pod's marks true until told to stop. An idle pod with true marks asks nothing.
pub async fn keep(
    cluster: Cluster,
    pod: Pod,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let kept = keep_on(&cluster, &pod, &board, &metrics);
    tokio::select! {
        never = kept => match never {},
        () = stop.cancelled() => {}
    }
}

async fn keep_on(
    cluster: &Cluster,
    pod: &Pod,
    board: &Board,
    metrics: &Metrics,
) -> std::convert::Infallible {
    let mut pieces = board.pieces.subscribe();
    // Unknown at first: a container that starts again finds the marks of the last one.
    let mut true_marks = None;
    let mut troubles = Troubles::new("marks of the pod");
    loop {
        let now = Instant::now();
        let want = {
            let pieces = pieces.borrow_and_update();
            marks(pieces.iter().map(|(_, at)| now.duration_since(*at)))
        };
        if true_marks == Some(want) {
            let busy = !want.safe_to_evict;
            tokio::select! {
                // The board outlives this loop, so it never closes.
                _ = pieces.changed() => {}
                () = tokio::time::sleep(PATCH_EVERY), if busy => {}
            }
            continue;
        }
        let patched = patch(cluster, pod, want).await;
        metrics.called(Kind::Marks, &patched);
        let pause = match &patched {
            Ok(()) => {
                true_marks = Some(want);
                troubles.worked();
                PATCH_EVERY
            }
            Err(error) => {
                // It may have been done, or not.
                true_marks = None;
                troubles.failed(error)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn patch(cluster: &Cluster, pod: &Pod, marks: Marks) -> Result<(), Error> {
    let patch = Patch::Merge(document(pod, marks));
    let pods = cluster.api::<PodObject>();
    let params = PatchParams::default();
    // The answer is the object's metadata only.
    let call = pods.patch_metadata(&pod.name, &params, &patch);
    cluster
        .ask("patch", "pods", &pod.name, call)
        .await
        .map(drop)
}

/// With the UID, a pod that has taken the name since is left alone.
fn document(pod: &Pod, marks: Marks) -> Value {
    let mut metadata = json!({
        "annotations": {
            DELETION_COST: marks.deletion_cost.to_string(),
            SAFE_TO_EVICT: marks.safe_to_evict.to_string(),
        }
    });
    if let Some(uid) = &pod.uid {
        metadata["uid"] = json!(uid);
    }
    json!({ "metadata": metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(seconds: &[u64]) -> (i32, bool) {
        let marks = marks(seconds.iter().copied().map(Duration::from_secs));
        (marks.deletion_cost, marks.safe_to_evict)
    }

    #[test]
    fn idle_goes_first_and_more_work_goes_later() {
        for (running, want) in [
            (&[][..], (-1, true)),
            (&[0], (64, false)),
            (&[0, 0], (128, false)),
            (&[40], (96, false)),
            (&[3_600], (3_584, false)),
            (&[3_600, 3_600, 3_600], (10_240, false)),
            (&[u64::MAX], (i32::MAX, false)),
            (&[u64::MAX, u64::MAX], (i32::MAX, false)),
        ] {
            assert_eq!(cost(running), want, "{running:?}");
        }
    }

    #[test]
    fn a_cost_never_falls_while_work_goes_on_and_takes_few_patches() {
        let (mut last, mut patches) = (0, 0);
        for seconds in 0..6 * 3_600 {
            let (now, _) = cost(&[seconds]);
            assert!(last <= now, "at {seconds} s");
            let exact = (seconds + JOB_SECONDS) as i32;
            assert!(now <= exact && exact * 3 / 4 <= now, "{now} at {seconds} s");
            patches += i32::from(last < now);
            last = now;
        }
        assert!(patches < 40, "{patches}");
    }

    #[test]
    fn the_board_holds_what_runs_and_forgets_what_ended() {
        let board = Board::default();
        let running = || board.pieces.borrow().len();
        let (one, two) = (board.begin(), board.begin());
        assert_eq!(running(), 2);
        drop(one);
        assert_eq!(running(), 1);
        let three = board.begin();
        drop((two, three));
        assert_eq!(running(), 0);
    }

    #[test]
    fn marks_are_strings_and_bound_to_the_pod_s_uid() {
        let mut pod = Pod {
            name: "p".to_owned(),
            uid: Some("u".to_owned()),
        };
        let document_of = |pod: &Pod| document(pod, marks([]));
        let annotations = json!({ DELETION_COST: "-1", SAFE_TO_EVICT: "true" });
        let want = json!({ "metadata": { "annotations": annotations, "uid": "u" } });
        assert_eq!(document_of(&pod), want);
        pod.uid = None;
        let want = json!({ "metadata": { "annotations": annotations } });
        assert_eq!(document_of(&pod), want);
    }
}
