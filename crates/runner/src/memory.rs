//! The memory budget of a process, shared by its slots.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Budgets are counted in whole units.
const UNIT_BYTES: u64 = 1 << 20;

/// Bytes all actions of a process may hold at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    bytes: u64,
    _units: Option<OwnedSemaphorePermit>,
}

impl Permit {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Memory {
    /// A budget of `bytes`, at least one unit of 1 MiB.
    pub fn new(bytes: u64) -> Self {
        let units_max = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits for `bytes` of the budget, first come first served. Who needs more than there is
    /// gets all of it, and has to make do.
    pub async fn take(&self, bytes: u64) -> Permit {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.units_max);
        // The semaphore is never closed, so there is always a permit to wait for.
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await.ok();
        Permit {
            bytes: u64::from(units) * UNIT_BYTES,
            _units: permit,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_budget_is_never_overdrawn_and_always_given_back() {
        let memory = Memory::new(10 * UNIT_BYTES);
        let first = memory.take(6 * UNIT_BYTES).await;
        assert_eq!(first.bytes(), 6 * UNIT_BYTES);
        assert!(
            memory.take(5 * UNIT_BYTES).now_or_never().is_none(),
            "6 + 5 of 10"
        );
        drop(first);
        assert!(memory.take(5 * UNIT_BYTES).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_needs_more_than_there_is_gets_all_of_it() {
        let memory = Memory::new(10 * UNIT_BYTES);
        assert_eq!(memory.take(u64::MAX).await.bytes(), 10 * UNIT_BYTES);
        assert_eq!(Memory::new(0).take(0).await.bytes(), UNIT_BYTES);
    }
}
