//! Metadata documents, read within bounds: all that are being read at once take so much memory
//! and no more, and one that would take more by itself is refused, whatever else lies beside it.

use std::sync::Arc;

use metadata::{TableMetadata, Weight};
use model::Advice;
use storage::Storage;
use tokio::sync::{Semaphore, SemaphorePermit};

/// When nobody said how much there is, in bytes.
const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// What most documents are read in, in bytes.
const SMALL_BYTES: u64 = 4 << 20;
/// Memory is counted in units of this, in bytes.
const UNIT_BYTES: u64 = 1 << 20;
/// Times one document is read: how long it is, then what it unpacks to, is known by reading it
/// in too little memory.
const READS_MAX: u32 = 4;

/// Why a document was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Storage(storage::Error),
    #[error(transparent)]
    Metadata(metadata::Error),
    #[error(
        "{location} has {bytes} bytes or unpacks to as many, which take {needed} bytes of memory or more to be read; {max} are there: give the process more memory"
    )]
    TooLarge {
        location: String,
        bytes: u64,
        needed: u64,
        max: u64,
    },
    #[error("{location} changed whenever it was read")]
    Unsteady { location: String },
}

impl Error {
    pub(crate) fn advice(&self) -> Advice {
        match self {
            Self::Storage(source) => source.advice(),
            Self::Metadata(source) => source.advice(),
            Self::TooLarge { .. } | Self::Unsteady { .. } => Advice::GiveUp,
        }
    }
}

/// Reads documents in so much memory.
#[derive(Debug)]
pub(crate) struct Documents {
    room: Semaphore,
    units: u32,
}

impl Default for Documents {
    fn default() -> Self {
        Self::within(MEMORY_BYTES_DEFAULT)
    }
}

impl Documents {
    pub(crate) fn within(memory_bytes: u64) -> Self {
        let units = u32::try_from(memory_bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 3);
        let units = units.max(1);
        Self {
            room: Semaphore::new(units as usize),
            units,
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.units) * UNIT_BYTES
    }

    /// The document at `location`. Nothing is held while it waits for room.
    pub(crate) async fn read(
        &self,
        storage: &Storage,
        location: &str,
    ) -> Result<Arc<TableMetadata>, Error> {
        let mut granted = SMALL_BYTES.min(self.memory_bytes());
        for _ in 0..READS_MAX {
            let _room = self.take(granted).await;
            let longest = Weight::text_bytes_max(granted);
            match storage.read_at_most(location, longest).await {
                Ok(bytes) => {
                    let weight = TableMetadata::weigh(&bytes, self.memory_bytes());
                    let weight = weight.map_err(Error::Metadata)?;
                    let needed = weight.memory_bytes();
                    if needed <= granted {
                        let parsed = TableMetadata::parse(&bytes).map_err(Error::Metadata)?;
                        return Ok(Arc::new(parsed));
                    }
                    granted = self.admit(location, weight.text_bytes, needed)?;
                }
                Err(storage::Error::TooLong { size, .. }) => {
                    let least = Weight {
                        text_bytes: size,
                        values: 0,
                    };
                    let least = self.admit(location, size, least.memory_bytes())?;
                    // Values take their part.
                    granted = least.saturating_mul(2).min(self.memory_bytes());
                }
                Err(source) => return Err(Error::Storage(source)),
            }
        }
        Err(Error::Unsteady {
            location: location.to_owned(),
        })
    }

    /// The document at `location`, whose text somebody holds already.
    pub(crate) async fn parse(
        &self,
        location: &str,
        text: &[u8],
    ) -> Result<Arc<TableMetadata>, Error> {
        let weight = TableMetadata::weigh(text, self.memory_bytes()).map_err(Error::Metadata)?;
        let needed = self.admit(location, weight.text_bytes, weight.memory_bytes())?;
        let _room = self.take(needed).await;
        let parsed = TableMetadata::parse(text).map_err(Error::Metadata)?;
        Ok(Arc::new(parsed))
    }

    /// One that need not be there any more: `None` when it is gone, cannot be understood or does
    /// not fit.
    pub(crate) async fn read_earlier(
        &self,
        storage: &Storage,
        location: &str,
    ) -> Result<Option<Arc<TableMetadata>>, storage::Error> {
        match self.read(storage, location).await {
            Ok(metadata) => Ok(Some(metadata)),
            Err(Error::Storage(error)) if !matches!(error, storage::Error::NotFound { .. }) => {
                Err(error)
            }
            Err(_) => Ok(None),
        }
    }

    /// `needed`, if there is as much.
    fn admit(&self, location: &str, bytes: u64, needed: u64) -> Result<u64, Error> {
        let max = self.memory_bytes();
        if needed <= max {
            return Ok(needed);
        }
        Err(Error::TooLarge {
            location: location.to_owned(),
            bytes,
            needed,
            max,
        })
    }

    /// Room for so many bytes, or for all there is: given back when it is dropped.
    pub(crate) async fn take(&self, bytes: u64) -> SemaphorePermit<'_> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(units.clamp(1, self.units)).await;
        room.expect("the semaphore is never closed")
    }
}
