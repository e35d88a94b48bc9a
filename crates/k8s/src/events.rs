//! Kubernetes Events on the pod: what `kubectl describe pod` shows of its work.
//!
//! Told, not waited for: [`Events::say`] takes a note or drops it, [`send`] sends what was taken,
//! one after the other. Both are bounded, and what is dropped is counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Kind;
use crate::trouble::Troubles;
use crate::{Cluster, Error, Metrics, Pod, clock};

/// Notes at once, and one more after each [`REFILL_EVERY`]: about what the kubelet allows itself.
const BURST_MAX: u32 = 25;
const REFILL_EVERY: Duration = Duration::from_secs(5);

/// The API server's limits (`events.k8s.io/v1`).
const TEXT_BYTES_MAX: usize = 1_024;
const INSTANCE_BYTES_MAX: usize = 128;

/// What an Event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Somebody should look.
    pub warning: bool,
    /// One word in UpperCamelCase, as in `JobFailed`.
    pub reason: &'static str,
    /// What was done, likewise.
    pub action: &'static str,
    pub text: String,
}

/// Where notes are left. Cheap to clone; when the last one is dropped, [`send`] ends.
#[derive(Debug, Clone)]
pub struct Events {
    notes: mpsc::Sender<(Note, MicroTime)>,
    bucket: Arc<Mutex<Bucket>>,
    metrics: Metrics,
}

/// Notes on their way to [`send`].
#[derive(Debug)]
pub struct Notes(mpsc::Receiver<(Note, MicroTime)>);

impl Events {
    pub fn new(metrics: &Metrics) -> (Self, Notes) {
        let (notes, taken) = mpsc::channel(BURST_MAX as usize);
        let events = Self {
            notes,
            bucket: Arc::new(Mutex::new(Bucket::full(Instant::now()))),
            metrics: metrics.clone(),
        };
        (events, Notes(taken))
    }

    /// Leaves a note, unless there are too many. Never waits.
    pub fn say(&self, note: Note) {
        let allowed = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(Instant::now())
        };
        if !allowed || self.notes.try_send((note, clock::now())).is_err() {
            self.metrics.dropped();
        }
    }
}

/// Sends notes until the last [`Events`] is dropped and nothing is left. `program` is who reports;
/// told to stop, it pauses no more after what is refused.
pub async fn send(
    cluster: Cluster,
    pod: Pod,
    program: &'static str,
    metrics: Metrics,
    mut notes: Notes,
    stop: CancellationToken,
) {
    let mut troubles = Troubles::new("Events of the pod");
    while let Some((note, at)) = notes.0.recv().await {
        let event = event(&pod, cluster.namespace(), program, note, at);
        let sent = create(&cluster, &event).await;
        metrics.called(Kind::Event, &sent);
        match sent {
            Ok(()) => troubles.worked(),
            // The note is gone; what piles up meanwhile is dropped where it is left.
            Err(error) => {
                let pause = tokio::time::sleep(troubles.failed(&error));
                stop.run_until_cancelled(pause).await;
            }
        }
    }
}

async fn create(cluster: &Cluster, event: &Event) -> Result<(), Error> {
    let events = cluster.api::<Event>();
    let params = PostParams::default();
    let call = events.create(&params, event);
    cluster
        .ask("create", "events.events.k8s.io", "", call)
        .await
        .map(drop)
}

fn event(pod: &Pod, namespace: &str, program: &str, note: Note, at: MicroTime) -> Event {
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(namespace.to_owned()),
        uid: pod.uid.clone(),
        ..ObjectReference::default()
    };
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", pod.name)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(at),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some(note.action.to_owned()),
        note: Some(cut(note.text, TEXT_BYTES_MAX)),
        regarding: Some(regarding),
        reporting_controller: Some(program.to_owned()),
        reporting_instance: Some(cut(pod.name.clone(), INSTANCE_BYTES_MAX)),
        ..Event::default()
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// A token bucket by the monotonic clock.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// Until when tokens are accounted for.
    at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            tokens: BURST_MAX,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        let refills = elapsed.as_millis() / REFILL_EVERY.as_millis();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        if refills >= BURST_MAX - self.tokens {
            *self = Self::full(now);
        } else {
            self.tokens += refills;
            self.at += REFILL_EVERY * refills;
        }
        let allowed = 0 < self.tokens;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_after_another() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::full(start);
        let burst = (0..100).filter(|_| bucket.take(at(0))).count();
        assert_eq!(burst, 25);
        assert!(!bucket.take(at(4)));
        assert!(bucket.take(at(5)));
        assert!(!bucket.take(at(9)), "what is left of a refill is kept");
        assert!(bucket.take(at(10)));
        let later = (0..100).filter(|_| bucket.take(at(10_000))).count();
        assert_eq!(later, 25, "never more than a burst");
    }

    #[test]
    fn notes_nobody_takes_are_dropped_and_counted() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let (events, notes) = Events::new(&metrics);
        let say = || {
            events.say(Note {
                warning: false,
                reason: "JobClaimed",
                action: "Claim",
                text: "job 1".to_owned(),
            });
        };
        (0..30).for_each(|_| say());
        assert_eq!(metrics.dropped_count(), 5);
        drop(notes);
        assert_eq!(metrics.dropped_count(), 5);
    }

    #[test]
    fn an_event_keeps_to_the_api_server_s_limits() {
        let pod = Pod {
            name: "p".repeat(253),
            uid: None,
        };
        let note = Note {
            warning: true,
            reason: "JobFailed",
            action: "Run",
            text: "é".repeat(600),
        };
        let event = event(&pod, "ns", "snowpack-worker", note, clock::now());
        assert_eq!(event.note.unwrap(), "é".repeat(512));
        assert_eq!(event.reporting_instance.unwrap().len(), 128);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
