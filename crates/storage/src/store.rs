//! Reading and writing objects: [`Storage`] and [`Upload`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use model::Advice;
use tokio::sync::Semaphore;

use crate::allowed::Allowed;
use crate::retry::{Again, Retry};
use crate::s3::{self, S3, Settings};
use crate::{Args, Error, Listing, Location, Scheme, local};

/// Calls at once: open files and requests; the rest wait.
const CALLS_MAX: usize = 64;
/// Longest object read whole, in bytes: whoever reads more reads it by ranges.
const READ_BYTES_MAX: u64 = 1 << 30;
/// Tries of one call on a local file.
const RETRY: Retry = Retry {
    tries_max: 4,
    first_pause: Duration::from_millis(50),
    pause_max: Duration::from_millis(200),
};

/// Where objects are read and written. Cheap to clone; clones share their limits.
#[derive(Debug, Clone)]
pub struct Storage {
    calls: Arc<Semaphore>,
    /// `None`: local files only.
    s3: Option<Arc<S3>>,
    allowed: Allowed,
}

/// An object, and what reaches it.
enum Place {
    Local(local::Place),
    S3(Arc<S3>, s3::Object),
}

impl Storage {
    /// Local files and S3, as the arguments say. Nothing is connected to yet.
    pub fn new(args: &Args) -> Result<Self, Error> {
        let allowed = Allowed::parse(args)?;
        let all = Self::with(Settings::parse(args)?);
        Ok(Self { allowed, ..all })
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let local = Self::local();
        let s3 = S3::new(settings, local.calls.clone());
        Self {
            s3: Some(Arc::new(s3)),
            ..local
        }
    }

    /// Storage of local files only.
    pub fn local() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            s3: None,
            allowed: Allowed::Everything,
        }
    }

    /// The same, but for files of this machine, where the settings name no places.
    #[must_use]
    pub fn without_files(mut self) -> Self {
        self.allowed = self.allowed.without_files();
        self
    }

    /// Whether the settings allow this location to be touched; fails with [`Error::NotAllowed`],
    /// or as [`Location::parse`] does.
    pub fn admit(&self, location: &str) -> Result<Location, Error> {
        let location = Location::parse(location)?;
        self.allowed.admit(&location)?;
        Ok(location)
    }

    /// The whole object.
    pub async fn read(&self, location: &str) -> Result<Bytes, Error> {
        self.read_at_most(location, READ_BYTES_MAX).await
    }

    /// The whole object, unless it is longer than `max` bytes: [`Error::TooLong`].
    pub async fn read_at_most(&self, location: &str, max: u64) -> Result<Bytes, Error> {
        match self.place(location)? {
            Place::Local(place) => self.call(location, move || local::read(&place, max)).await,
            Place::S3(s3, object) => s3.read(&object, max).boxed().await,
        }
    }

    /// The bytes of each range, in the order asked; ranges that lie close are read together.
    pub async fn read_ranges(
        &self,
        location: &str,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        match self.place(location)? {
            Place::Local(place) => {
                let ranges: Arc<[Range<u64>]> = ranges.into();
                self.call(location, move || local::read_ranges(&place, &ranges))
                    .await
            }
            Place::S3(s3, object) => s3.read_ranges(&object, ranges).boxed().await,
        }
    }

    /// Where a folder really lies, links followed; as it is asked where nothing is there, or where
    /// there are no links. Reads nothing, so any folder may be asked for.
    pub async fn resolve(&self, folder: &Location) -> Result<Location, Error> {
        match folder.scheme() {
            Scheme::File => {
                let location = folder.clone();
                self.call(folder.path(), move || local::resolve(&location))
                    .await
            }
            _ => Ok(folder.clone()),
        }
    }

    /// What lies below a folder; one that does not exist is empty. Nothing is asked yet.
    pub fn list(&self, folder: &str) -> Result<Listing, Error> {
        let location = self.admit(folder)?;
        Ok(match self.place(folder.trim_end_matches('/'))? {
            Place::Local(_) => {
                Listing::local(self.clone(), folder.to_owned(), location.path().into())
            }
            Place::S3(s3, object) => Listing::s3(self.clone(), s3, object),
        })
    }

    /// How long the object is, in bytes.
    pub async fn size(&self, location: &str) -> Result<u64, Error> {
        match self.place(location)? {
            Place::Local(place) => self.call(location, move || local::size(&place)).await,
            Place::S3(s3, object) => s3.size(&object).boxed().await,
        }
    }

    /// When the object was last written, by the store's clock, in milliseconds since the epoch; of S3 by
    /// the second; `None` when the store does not tell.
    pub async fn modified_ms(&self, location: &str) -> Result<Option<i64>, Error> {
        match self.place(location)? {
            Place::Local(place) => {
                self.call(location, move || local::modified_ms(&place))
                    .await
            }
            Place::S3(s3, object) => s3.modified_ms(&object).boxed().await,
        }
    }

    /// Writes an object that does not exist yet, whole or not at all; folders above it are made.
    /// What exists already is left alone: [`Error::AlreadyExists`].
    pub async fn write_new(&self, location: &str, bytes: Bytes) -> Result<(), Error> {
        match self.place(location)? {
            Place::Local(place) => {
                self.call(location, move || local::write_new(&place, &bytes))
                    .await
            }
            Place::S3(s3, object) => {
                let mut upload = s3::Upload::new(s3, object);
                upload.put(bytes).boxed().await?;
                upload.finish().boxed().await
            }
        }
    }

    /// Deletes objects, and says of each what became of it, in the order asked. One that is not
    /// there counts as deleted. Never a folder, never a bucket.
    pub async fn delete(&self, locations: &[String]) -> Vec<Result<(), Error>> {
        let mut ends: Vec<Option<Result<(), Error>>> = locations.iter().map(|_| None).collect();
        let mut folders: BTreeMap<PathBuf, Vec<(usize, local::Place)>> = BTreeMap::new();
        let mut buckets: BTreeMap<String, (Vec<usize>, Vec<s3::Object>)> = BTreeMap::new();
        for (at, location) in locations.iter().enumerate() {
            match self.place(location) {
                Ok(Place::Local(place)) => {
                    let folder = folders.entry(place.folder().to_owned()).or_default();
                    folder.push((at, place));
                }
                Ok(Place::S3(_, object)) => {
                    let bucket = buckets.entry(object.bucket.name.clone()).or_default();
                    bucket.0.push(at);
                    bucket.1.push(object);
                }
                Err(error) => ends[at] = Some(Err(error)),
            }
        }
        let folders = folders
            .into_values()
            .map(|places| self.delete_local(places));
        let told = futures::future::join_all(folders)
            .boxed()
            .await
            .into_iter()
            .flatten();
        for (at, end) in told {
            ends[at] = Some(end);
        }
        for (ats, objects) in buckets.into_values() {
            if let Some(s3) = &self.s3 {
                for (at, end) in ats.into_iter().zip(s3.delete(&objects).boxed().await) {
                    ends[at] = Some(end);
                }
            }
        }
        let ends = locations.iter().zip(ends);
        ends.map(|(location, end)| end.unwrap_or_else(|| Err(unsaid(location))))
            .collect()
    }

    /// Deletes files of one folder, and again those whose failure may pass.
    async fn delete_local(
        &self,
        places: Vec<(usize, local::Place)>,
    ) -> Vec<(usize, Result<(), Error>)> {
        let mut told = Vec::new();
        let mut open = places;
        for tries in 1..=RETRY.tries_max {
            let (ats, asked): (Vec<usize>, Vec<local::Place>) = open.drain(..).unzip();
            let places = asked.clone();
            let ends = blocking(&self.calls, "files", move || Ok(local::delete(&places))).await;
            let ends =
                ends.unwrap_or_else(|_| asked.iter().map(|p| Err(unsaid(p.location()))).collect());
            for ((at, place), end) in ats.into_iter().zip(asked).zip(ends) {
                match end {
                    Err(error) if tries < RETRY.tries_max && again(&error) != Again::Never => {
                        open.push((at, place));
                    }
                    end => told.push((at, end)),
                }
            }
            if open.is_empty() {
                break;
            }
            RETRY.pause("files", tries, Again::Later).await;
        }
        told
    }

    /// Begins an object that is written piece by piece and appears whole at [`Upload::finish`].
    pub async fn upload(&self, location: &str) -> Result<Upload, Error> {
        let partial = match self.place(location)? {
            Place::Local(place) => {
                let create = move || local::Partial::create(&place);
                Partial::Local(self.call(location, create).await?)
            }
            Place::S3(s3, object) => Partial::S3(Box::new(s3::Upload::new(s3, object))),
        };
        Ok(Upload {
            calls: self.calls.clone(),
            location: location.to_owned(),
            partial: Some(partial),
            bytes: 0,
        })
    }

    fn place(&self, text: &str) -> Result<Place, Error> {
        let location = self.admit(text)?;
        match (location.scheme(), &self.s3) {
            (Scheme::File, _) => Ok(Place::Local(local::Place::new(text, &location))),
            (Scheme::S3, Some(s3)) => Ok(Place::S3(s3.clone(), s3.object(text, &location)?)),
            (Scheme::S3 | Scheme::Other(_), s3) => Err(Error::Unsupported {
                location: text.to_owned(),
                scheme: location.scheme_name().to_owned(),
                built: if s3.is_some() {
                    "local files, s3"
                } else {
                    "local files (this storage is of local files only)"
                },
            }),
        }
    }

    /// Runs a blocking call on its own thread, once.
    pub(crate) async fn once<T: Send + 'static>(
        &self,
        location: &str,
        call: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        blocking(&self.calls, location, call).await
    }

    /// Runs a blocking call on its own thread, and again after a pause when its failure may pass.
    async fn call<T, F>(&self, location: &str, call: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn() -> Result<T, Error> + Clone + Send + 'static,
    {
        let once = || blocking(&self.calls, location, call.clone());
        RETRY.run(location, again, once).await
    }
}

fn again(error: &Error) -> Again {
    match error.advice() {
        Advice::RetryLater => Again::Later,
        _ => Again::Never,
    }
}

fn unsaid(location: &str) -> Error {
    Error::Failed {
        doing: "delete",
        location: location.to_owned(),
        source: std::io::Error::other("it was not said what became of it"),
    }
}

#[derive(Debug)]
enum Partial {
    Local(local::Partial),
    S3(Box<s3::Upload>),
}

/// An object being written. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    calls: Arc<Semaphore>,
    location: String,
    /// `None` once a piece failed or was cancelled half-way: what lies there is not known.
    partial: Option<Partial>,
    bytes: u64,
}

impl Upload {
    /// Adds a piece at the end.
    pub async fn put(&mut self, piece: Bytes) -> Result<(), Error> {
        let length = piece.len() as u64;
        let partial = match self.take()? {
            Partial::Local(mut partial) => {
                let put = move || partial.put(&piece).map(|()| partial);
                Partial::Local(blocking(&self.calls, &self.location, put).await?)
            }
            Partial::S3(mut upload) => {
                upload.put(piece).boxed().await?;
                Partial::S3(upload)
            }
        };
        self.partial = Some(partial);
        self.bytes += length;
        Ok(())
    }

    /// Makes it visible and returns its length in bytes. Fails if something lies there by now.
    pub async fn finish(mut self) -> Result<u64, Error> {
        match self.take()? {
            Partial::Local(partial) => {
                blocking(&self.calls, &self.location, move || partial.finish()).await?;
            }
            Partial::S3(upload) => upload.finish().boxed().await?,
        }
        Ok(self.bytes)
    }

    fn take(&mut self) -> Result<Partial, Error> {
        self.partial.take().ok_or_else(|| Error::Failed {
            doing: "continue a broken upload to",
            location: self.location.clone(),
            source: std::io::Error::other("an earlier piece failed"),
        })
    }
}

async fn blocking<T: Send + 'static>(
    calls: &Arc<Semaphore>,
    location: &str,
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let permit = calls
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        call()
    });
    done.await.unwrap_or_else(|error| {
        Err(Error::Failed {
            doing: "run a call on",
            location: location.to_owned(),
            source: std::io::Error::other(error),
        })
    })
}
