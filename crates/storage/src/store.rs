//! Reading and writing objects: [`Storage`] and [`Upload`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::error::passing;
use crate::{Args, Error, Location, local};

/// Calls that may hold a file open at once; the rest wait.
const CALLS_MAX: usize = 64;
/// Tries of one call, the first included.
const TRIES_MAX: u32 = 4;
/// Longest pause before the second try; it doubles from try to try, and each pause is drawn from zero to it.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Where objects are read and written. Cheap to clone; clones share their limits.
#[derive(Debug, Clone)]
pub struct Storage {
    calls: Arc<Semaphore>,
}

impl Storage {
    /// Storage as the arguments say; what is reserved and not built is refused.
    pub fn new(args: &Args) -> Result<Self, Error> {
        args.check()?;
        Ok(Self::local())
    }

    /// Storage of local files only.
    pub fn local() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// The whole object.
    pub async fn read(&self, location: &str) -> Result<Bytes, Error> {
        self.call(location, local::read).await
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
        let ranges: Arc<[Range<u64>]> = ranges.into();
        self.call(location, move |place| local::read_ranges(place, &ranges))
            .await
    }

    /// How long the object is, in bytes.
    pub async fn size(&self, location: &str) -> Result<u64, Error> {
        self.call(location, local::size).await
    }

    /// Writes an object that does not exist yet, whole or not at all; folders above it are made.
    /// What exists already is left alone: [`Error::AlreadyExists`].
    pub async fn write_new(&self, location: &str, bytes: Bytes) -> Result<(), Error> {
        self.call(location, move |place| local::write_new(place, &bytes))
            .await
    }

    /// Deletes objects, and says of each what became of it, in the order asked. One that is not
    /// there counts as deleted.
    pub async fn delete(&self, locations: &[String]) -> Vec<Result<(), Error>> {
        let deletes = locations
            .iter()
            .map(|location| self.call(location, local::delete));
        futures::future::join_all(deletes).await
    }

    /// Begins an object that is written piece by piece and appears whole at [`Upload::finish`].
    pub async fn upload(&self, location: &str) -> Result<Upload, Error> {
        let partial = self.call(location, local::Partial::create).await?;
        Ok(Upload {
            calls: self.calls.clone(),
            location: location.to_owned(),
            partial: Some(partial),
            bytes: 0,
        })
    }

    /// Runs a blocking call on its own thread, and again after a pause when its failure may pass.
    async fn call<T, F>(&self, location: &str, call: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&local::Place) -> Result<T, Error> + Clone + Send + 'static,
    {
        let place = local::Place::new(location, &Location::parse(location)?)?;
        let mut tries = 1;
        loop {
            let (call, place) = (call.clone(), place.clone());
            let done = blocking(&self.calls, location, move || call(&place)).await;
            match done {
                Err(Error::Failed { doing, source, .. })
                    if tries < TRIES_MAX && passing(&source) =>
                {
                    tracing::debug!(location, doing, tries, error = %source, "try again");
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }
}

/// An object being written. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    calls: Arc<Semaphore>,
    location: String,
    /// `None` once a piece failed or was cancelled half-way: what lies there is not known.
    partial: Option<local::Partial>,
    bytes: u64,
}

impl Upload {
    /// Adds a piece at the end.
    pub async fn put(&mut self, piece: Bytes) -> Result<(), Error> {
        let mut partial = self.take()?;
        let length = piece.len() as u64;
        let partial = blocking(&self.calls, &self.location, move || {
            partial.put(&piece).map(|()| partial)
        })
        .await?;
        self.partial = Some(partial);
        self.bytes += length;
        Ok(())
    }

    /// Makes it visible and returns its length in bytes. Fails if something lies there by now.
    pub async fn finish(mut self) -> Result<u64, Error> {
        let partial = self.take()?;
        blocking(&self.calls, &self.location, move || partial.finish()).await?;
        Ok(self.bytes)
    }

    fn take(&mut self) -> Result<local::Partial, Error> {
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

/// Full jitter: any pause from zero to the try's limit.
fn pause(tries: u32) -> Duration {
    let limit = PAUSE_MAX * 2u32.pow(tries - 1);
    limit.mul_f64(rand::random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn folder() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        (folder, path)
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn what_was_written_is_read_under_every_form_of_its_location() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let location = format!("file://{root}/région=a%2Fb/x y.bin");
        storage
            .write_new(&location, Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        for form in [
            location.clone(),
            location.replace("file://", "file:"),
            location.replace("file://", ""),
        ] {
            assert_eq!(storage.read(&form).await.unwrap(), "0123456789", "{form}");
        }
        assert_eq!(storage.size(&location).await.unwrap(), 10);
        assert_eq!(
            names(&std::path::Path::new(&root).join("région=a%2Fb")),
            ["x y.bin"]
        );
    }

    #[tokio::test]
    async fn a_second_writer_is_refused_and_the_first_content_stays() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let location = format!("{root}/t/a");
        let writes = (0..8u8).map(|n| {
            let (storage, location) = (storage.clone(), location.clone());
            tokio::spawn(async move {
                storage
                    .write_new(&location, Bytes::from(vec![n; 1000]))
                    .await
            })
        });
        let mut won = 0;
        for write in writes.collect::<Vec<_>>() {
            match write.await.unwrap() {
                Ok(()) => won += 1,
                Err(Error::AlreadyExists { location: named }) => assert_eq!(named, location),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
        let content = storage.read(&location).await.unwrap();
        assert!(content.len() == 1000 && content.iter().all(|b| *b == content[0]));
        assert_eq!(names(&std::path::Path::new(&root).join("t")), ["a"]);
    }

    #[tokio::test]
    async fn ranges_come_back_in_the_order_asked() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let location = format!("{root}/a");
        storage
            .write_new(&location, Bytes::from(content.clone()))
            .await
            .unwrap();
        let ranges = [299_990..300_000, 5..10, 0..0, 8..20, 150_000..150_001];
        let read = storage.read_ranges(&location, &ranges).await.unwrap();
        for (range, bytes) in ranges.iter().zip(&read) {
            assert_eq!(
                bytes,
                &content[range.start as usize..range.end as usize],
                "{range:?}"
            );
        }
        assert!(
            storage
                .read_ranges(&location, &[])
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_range_outside_the_object_is_an_error_that_names_it() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let location = format!("{root}/a");
        storage
            .write_new(&location, Bytes::from_static(b"0123"))
            .await
            .unwrap();
        let error = storage
            .read_ranges(&location, &[0..2, 2..5])
            .await
            .unwrap_err();
        assert!(
            matches!(
                &error,
                Error::OutOfRange {
                    start: 2,
                    end: 5,
                    size: 4,
                    ..
                }
            ),
            "{error:?}"
        );
        #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
        let error = storage
            .read_ranges(&location, &[0..1, 3..1])
            .await
            .unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }));
    }

    #[tokio::test]
    async fn an_upload_appears_whole_at_its_end_only() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let location = format!("{root}/data/a");
        let mut upload = storage.upload(&location).await.unwrap();
        upload.put(Bytes::from_static(b"abc")).await.unwrap();
        assert!(matches!(
            storage.size(&location).await,
            Err(Error::NotFound { .. })
        ));
        upload.put(Bytes::from_static(b"defg")).await.unwrap();
        assert_eq!(upload.finish().await.unwrap(), 7);
        assert_eq!(storage.read(&location).await.unwrap(), "abcdefg");
        assert_eq!(names(&std::path::Path::new(&root).join("data")), ["a"]);
    }

    #[tokio::test]
    async fn a_dropped_upload_leaves_nothing() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let mut upload = storage.upload(&format!("{root}/a")).await.unwrap();
        upload.put(Bytes::from_static(b"abc")).await.unwrap();
        drop(upload);
        assert!(names(std::path::Path::new(&root)).is_empty());
    }

    #[tokio::test]
    async fn an_upload_never_replaces_what_came_first() {
        let (_folder, root) = folder();
        let storage = Storage::local();
        let location = format!("{root}/a");
        let upload = storage.upload(&location).await.unwrap();
        storage
            .write_new(&location, Bytes::from_static(b"first"))
            .await
            .unwrap();
        assert!(matches!(
            upload.finish().await,
            Err(Error::AlreadyExists { .. })
        ));
        assert_eq!(storage.read(&location).await.unwrap(), "first");
        assert_eq!(names(std::path::Path::new(&root)), ["a"]);
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_refused_by_name() {
        let storage = Storage::local();
        let error = storage
            .read("s3://bucket/key")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("s3://bucket/key") && error.contains("not built"),
            "{error}"
        );
        let error = storage.read("/no/such/file").await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { location } if location == "/no/such/file"));
    }

    #[tokio::test]
    async fn a_failure_that_may_pass_is_tried_again_and_no_other() {
        for (kind, want) in [
            (std::io::ErrorKind::TimedOut, TRIES_MAX),
            (std::io::ErrorKind::PermissionDenied, 1),
        ] {
            let tries = Arc::new(AtomicU32::new(0));
            let count = tries.clone();
            let call = move |_: &local::Place| {
                count.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(Error::io("read", "/a", std::io::Error::from(kind)))
            };
            assert!(Storage::local().call("/a", call).await.is_err());
            assert_eq!(tries.load(Ordering::SeqCst), want, "{kind:?}");
        }
    }

    #[test]
    fn pauses_grow_and_have_a_limit() {
        for tries in 1..TRIES_MAX {
            assert!(pause(tries) <= PAUSE_MAX * 2u32.pow(TRIES_MAX - 2));
        }
    }
}
