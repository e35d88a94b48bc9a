//! Who may hold how many of a server's connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Bounds;

/// The connections of one server: all of them, and those of one address.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    held: Mutex<BTreeMap<IpAddr, usize>>,
    per_address_max: usize,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _free: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(bounds: &Bounds) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(bounds.connections_max)),
            held: Mutex::default(),
            per_address_max: bounds.connections_max_per_address,
        })
    }

    /// Waits until any place is free.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Gives the place to `address`, unless it has its share already.
    pub(super) fn give(
        self: &Arc<Self>,
        free: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Option<Place> {
        // A map of counts is never half written.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Place {
            places: Arc::clone(self),
            address,
            _free: free,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = &self.places.held;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}
