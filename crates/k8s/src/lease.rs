//! A Lease: one of several processes does what need not be done by all.
//!
//! The usual semantics (client-go's leader election): the holder renews `renewTime`; whoever has
//! seen no renewal for `leaseDurationSeconds`, by its own monotonic clock and never by comparing
//! times of two machines, takes it over; every write names the `resourceVersion` it was decided on.
//!
//! A Lease is advice, no fence: a process that was frozen may believe for a moment that it still
//! holds it. Whoever needs to be right asks a better judge besides.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Kind;
use crate::trouble::Troubles;
use crate::{Cluster, Error, Metrics, Trouble, clock};

/// Not renewed for so long, a Lease is anybody's.
pub const HELD_FOR: Duration = Duration::from_secs(30);
/// Between two renewals, or looks whether it is to be had.
const LOOK_EVERY: Duration = Duration::from_secs(5);
// Several renewals may fail before it is lost.
const _: () = assert!(LOOK_EVERY.as_secs() * 4 <= HELD_FOR.as_secs());

/// Who has the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    Mine,
    /// Another process, by its name.
    Theirs(String),
    /// Kubernetes does not say.
    Unknown,
}

/// One process that wants a Lease.
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    name: String,
    claim: Claim,
    /// What was last seen of the Lease, and since when it looks like that.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Lease {
    /// `held_for` in whole seconds, as [`HELD_FOR`].
    pub fn new(cluster: Cluster, name: &str, holder: &str, held_for: Duration) -> Self {
        Self {
            cluster,
            name: name.to_owned(),
            claim: Claim {
                holder: holder.to_owned(),
                held_for,
            },
            seen: None,
        }
    }

    /// Looks once: renews what is ours, takes what nobody renews, says who has it.
    pub async fn look(&mut self) -> Result<Turn, Error> {
        let Some(mut object) = self.get().await? else {
            return self.create().await;
        };
        let spec = object.spec.take().unwrap_or_default();
        let now = Instant::now();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let still = now.saturating_duration_since(since);
        let Some(next) = self.claim.next(&spec, still, clock::now()) else {
            return Ok(Turn::Theirs(spec.holder_identity.unwrap_or_default()));
        };
        object.spec = Some(next);
        match self.replace(&object).await {
            Ok(spec) => Ok(self.mine(spec)),
            // Another was faster: who, the next look says.
            Err(error) if error.trouble() == Trouble::Conflict => Ok(Turn::Theirs(String::new())),
            Err(error) => Err(error),
        }
    }

    /// Gives it back, if it is ours, so that another need not wait.
    pub async fn release(&mut self) -> Result<(), Error> {
        let Some(mut object) = self.get().await? else {
            return Ok(());
        };
        let Some(spec) = &mut object.spec else {
            return Ok(());
        };
        if spec.holder_identity.as_deref() != Some(self.claim.holder.as_str()) {
            return Ok(());
        }
        // As client-go leaves it: nobody's, and over in a second.
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(clock::now());
        self.replace(&object).await.map(drop)
    }

    fn mine(&mut self, spec: LeaseSpec) -> Turn {
        self.seen = Some((spec, Instant::now()));
        Turn::Mine
    }

    async fn get(&self) -> Result<Option<LeaseObject>, Error> {
        let leases = self.cluster.api::<LeaseObject>();
        let call = leases.get_opt(&self.name);
        self.ask("get", call).await
    }

    async fn create(&mut self) -> Result<Turn, Error> {
        let spec = self.claim.taken(&LeaseSpec::default(), clock::now());
        let object = LeaseObject {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let leases = self.cluster.api::<LeaseObject>();
        let params = PostParams::default();
        match self.ask("create", leases.create(&params, &object)).await {
            Ok(created) => Ok(self.mine(created.spec.unwrap_or_default())),
            Err(error) if error.trouble() == Trouble::Conflict => Ok(Turn::Theirs(String::new())),
            Err(error) => Err(error),
        }
    }

    /// Refused as a conflict when the object is not the one that was read any more.
    async fn replace(&self, object: &LeaseObject) -> Result<LeaseSpec, Error> {
        let leases = self.cluster.api::<LeaseObject>();
        let params = PostParams::default();
        let call = leases.replace(&self.name, &params, object);
        let replaced = self.ask("update", call).await?;
        Ok(replaced.spec.unwrap_or_default())
    }

    async fn ask<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        let resource = "leases.coordination.k8s.io";
        self.cluster.ask(verb, resource, &self.name, call).await
    }
}

/// Who wants it, and for how long at a time. Decides; asks nobody.
#[derive(Debug)]
struct Claim {
    /// Unlike any other process's.
    holder: String,
    held_for: Duration,
}

impl Claim {
    /// What to write, if anything: a renewal of ours, or a takeover of what is nobody's or has
    /// looked the same for `still`.
    fn next(&self, spec: &LeaseSpec, still: Duration, now: MicroTime) -> Option<LeaseSpec> {
        let theirs = spec.holder_identity.as_deref().unwrap_or_default();
        if theirs == self.holder {
            return Some(LeaseSpec {
                lease_duration_seconds: seconds(self.held_for),
                renew_time: Some(now),
                ..spec.clone()
            });
        }
        let promised = spec.lease_duration_seconds.unwrap_or(0).max(0);
        let over = Duration::from_secs(u64::from(promised.unsigned_abs())) <= still;
        (theirs.is_empty() || over).then(|| self.taken(spec, now))
    }

    fn taken(&self, spec: &LeaseSpec, now: MicroTime) -> LeaseSpec {
        let transitions = spec.lease_transitions.unwrap_or(0);
        let first = spec.acquire_time.is_none();
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: seconds(self.held_for),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!first))),
            ..spec.clone()
        }
    }
}

fn seconds(duration: Duration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

/// Looks again and again until told to stop, tells whose turn it is, and gives back at the end
/// what is ours.
pub async fn keep(
    mut lease: Lease,
    metrics: Metrics,
    tell: watch::Sender<Turn>,
    stop: CancellationToken,
) {
    tokio::select! {
        never = keep_on(&mut lease, &metrics, &tell) => match never {},
        () = stop.cancelled() => {}
    }
    if *tell.borrow() == Turn::Mine {
        // It runs out by itself.
        let released = lease.release().await;
        metrics.called(Kind::Lease, &released);
    }
}

async fn keep_on(lease: &mut Lease, metrics: &Metrics, tell: &watch::Sender<Turn>) -> Infallible {
    let mut troubles = Troubles::new("the Lease");
    loop {
        let looked = lease.look().await;
        metrics.called(Kind::Lease, &looked);
        let pause = match looked {
            Ok(turn) => {
                troubles.worked();
                tell.send_replace(turn);
                LOOK_EVERY
            }
            Err(error) => {
                tell.send_replace(Turn::Unknown);
                troubles.failed(&error)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decision alone, of a process named `me`.
    fn after(spec: &LeaseSpec, seconds: u64) -> Option<LeaseSpec> {
        lease("me").next(spec, Duration::from_secs(seconds), at(100))
    }

    fn lease(holder: &str) -> Claim {
        Claim {
            holder: holder.to_owned(),
            held_for: HELD_FOR,
        }
    }

    fn at(second: i64) -> MicroTime {
        MicroTime(jiff::Timestamp::from_second(second).unwrap())
    }

    fn spec(holder: &str) -> LeaseSpec {
        LeaseSpec {
            preferred_holder: Some("kept".to_owned()),
            ..lease(holder).taken(&LeaseSpec::default(), at(1))
        }
    }

    #[test]
    fn another_s_lease_is_left_alone_until_it_was_not_renewed_for_its_duration() {
        let theirs = spec("other");
        assert_eq!(after(&theirs, 29), None);
        let want = LeaseSpec {
            holder_identity: Some("me".to_owned()),
            lease_transitions: Some(1),
            acquire_time: Some(at(100)),
            renew_time: Some(at(100)),
            ..theirs.clone()
        };
        assert_eq!(after(&theirs, 30), Some(want));
    }

    #[test]
    fn the_holder_says_for_how_long_it_holds() {
        let mut theirs = spec("other");
        theirs.lease_duration_seconds = Some(60);
        assert_eq!(after(&theirs, 59), None);
        assert!(after(&theirs, 60).is_some());
        theirs.lease_duration_seconds = None;
        assert!(after(&theirs, 0).is_some());
    }

    #[test]
    fn our_own_is_renewed_and_not_taken_again() {
        let ours = spec("me");
        let want = LeaseSpec {
            renew_time: Some(at(100)),
            ..ours.clone()
        };
        assert_eq!(after(&ours, 0), Some(want));
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        let mut free = spec("other");
        free.holder_identity = Some(String::new());
        let taken = after(&free, 0).unwrap();
        assert_eq!(taken.holder_identity.as_deref(), Some("me"));
        assert_eq!(taken.lease_transitions, Some(1));
        let fresh = after(&LeaseSpec::default(), 0).unwrap();
        assert_eq!(fresh.lease_transitions, Some(0));
    }
}
