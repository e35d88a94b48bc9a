//! Objects in S3 and what speaks its language: every call bounded, repeated when its failure may
//! pass, and none that replaces what is there.
//!
//! The library (`object_store`) signs, speaks and finds keys; tries are ours, because only who
//! repeats a conditional write can know that an answer was lost. So every object is written with
//! a mark of its own in its metadata: "exists already" with our mark is our success.
//! Start at [`S3`].

mod bucket;
mod http;
mod refusal;
mod settings;
mod upload;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore as _, PutMode, PutOptions, PutPayload,
};
use tokio::sync::Semaphore;

use self::bucket::{Bucket, Maker};
use self::refusal::{Problem, explain, explain_delete, no_key, unsaid};
use crate::ranges::{Joining, cut, join, outside};
use crate::retry::Again;
use crate::{Error, Listed, Location};

pub(crate) use self::bucket::Object;
pub use self::http::http_client;
pub(crate) use self::settings::Settings;
pub use self::settings::on_this_host;
pub(crate) use self::upload::Upload;

/// A request costs about what this many bytes cost.
const JOINING: Joining = Joining {
    gap_max: 512 * 1024,
    length_max: 16 * 1024 * 1024,
};
/// Ranges of one object read at once.
const RANGES_AT_ONCE: usize = 8;
/// Keys of one bulk delete, as S3 allows.
const DELETE_KEYS_MAX: usize = 1000;
/// Bulk deletes of one call at once.
const DELETES_AT_ONCE: usize = 4;
/// Buckets whose clients are kept.
const BUCKETS_MAX: usize = 64;
/// The metadata that says who wrote an object.
const MARK: &str = "snowpack-write";

#[derive(Debug)]
pub(crate) struct S3 {
    settings: Settings,
    calls: Arc<Semaphore>,
    maker: OnceLock<Result<Maker, String>>,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
}

impl S3 {
    /// Connects to nothing yet. `calls` bounds the calls at once.
    pub(crate) fn new(settings: Settings, calls: Arc<Semaphore>) -> Self {
        Self {
            settings,
            calls,
            maker: OnceLock::new(),
            buckets: Mutex::default(),
        }
    }

    /// The object at `location`, written as `text`.
    pub(crate) fn object(&self, text: &str, location: &Location) -> Result<Object, Error> {
        let name = bucket::name(text, location)?;
        let key = bucket::key(text, location)?;
        let fail = |why: String| Error::Failed {
            doing: "reach S3 for",
            location: text.to_owned(),
            source: std::io::Error::other(why),
        };
        let bucket = self.bucket(name).map_err(fail)?;
        Ok(Object {
            location: text.to_owned(),
            bucket,
            key,
        })
    }

    fn bucket(&self, name: &str) -> Result<Arc<Bucket>, String> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Ok(bucket.clone());
        }
        let bucket = Arc::new(self.maker()?.bucket(name)?);
        if buckets.len() >= BUCKETS_MAX {
            buckets.clear();
        }
        buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    fn maker(&self) -> Result<&Maker, String> {
        let made = self.maker.get_or_init(|| Maker::new(self.settings.clone()));
        made.as_ref().map_err(Clone::clone)
    }

    pub(crate) async fn read(&self, object: &Object, max: u64) -> Result<Bytes, Error> {
        let read = self.tried("read", object, || async {
            let found = object.bucket.store.get_opts(&object.key, GetOptions::new());
            let found = found.await?;
            match found.meta.size {
                size if size > max => Ok(Err(size)),
                _ => found.bytes().await.map(Ok),
            }
        });
        let read = read.await.map_err(|problem| problem.error(object))?;
        read.map_err(|size| Error::TooLong {
            location: object.location.clone(),
            size,
            max,
        })
    }

    pub(crate) async fn read_ranges(
        &self,
        object: &Object,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        let reads = join(ranges, JOINING).into_iter();
        let read = futures::stream::iter(reads.map(|range| self.read_range(object, range)))
            .buffered(RANGES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await;
        let (parts, size, refused) = match read {
            Ok(parts) if !parts.is_empty() => {
                let size = parts[0].1;
                (parts, size, false)
            }
            Ok(parts) => (parts, self.size(object).await?, false),
            Err(Problem::OutOfRange) => (Vec::new(), self.size(object).await?, true),
            Err(problem) => return Err(problem.error(object)),
        };
        let out = outside(ranges, size).or(ranges.first().filter(|_| refused));
        if let Some(range) = out {
            return Err(Error::OutOfRange {
                location: object.location.clone(),
                start: range.start,
                end: range.end,
                size,
            });
        }
        let parts: Vec<_> = parts.into_iter().map(|(part, _)| part).collect();
        Ok(cut(ranges, &parts))
    }

    /// One range, and the length of the whole object. A range that leads out is cut at the end.
    async fn read_range(
        &self,
        object: &Object,
        range: Range<u64>,
    ) -> Result<((Range<u64>, Bytes), u64), Problem> {
        self.tried("read", object, || async {
            let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
            let found = object.bucket.store.get_opts(&object.key, options).await?;
            let size = found.meta.size;
            let bytes = found.bytes().await?;
            Ok(((range.clone(), bytes), size))
        })
        .await
    }

    pub(crate) async fn size(&self, object: &Object) -> Result<u64, Error> {
        match self.head(object).await {
            Ok((size, _)) => Ok(size),
            Err(problem) => Err(problem.error(object)),
        }
    }

    pub(crate) async fn modified_ms(&self, object: &Object) -> Result<Option<i64>, Error> {
        let found = self.tried("look at", object, || async {
            let options = GetOptions::new().with_head(true);
            let found = object.bucket.store.get_opts(&object.key, options).await?;
            Ok(found.meta.last_modified.timestamp_millis())
        });
        found
            .await
            .map(Some)
            .map_err(|problem| problem.error(object))
    }

    /// A page of the objects below `folder`, and where the next begins.
    pub(crate) async fn list(
        &self,
        folder: &Object,
        page: &Page,
    ) -> Result<(Vec<Listed>, Page), Error> {
        let prefix = format!("{}/", folder.key);
        let token = match page {
            Page::After(token) => Some(token),
            Page::First | Page::Last => None,
        };
        let listed = self.tried("list", folder, || {
            let options = PaginatedListOptions {
                page_token: token.cloned(),
                ..PaginatedListOptions::default()
            };
            folder.bucket.store.list_paginated(Some(&prefix), options)
        });
        let listed = listed.await.map_err(|problem| problem.error(folder))?;
        let objects = listed.result.objects.into_iter();
        let objects = objects
            .filter(|object| object.size > 0)
            .filter_map(|object| {
                let text = format!("s3://{}/{}", folder.bucket.name, object.location);
                match Location::parse(&text) {
                    Ok(location) => Some(Listed {
                        location,
                        size_bytes: object.size,
                        modified_ms: Some(object.last_modified.timestamp_millis()),
                    }),
                    Err(error) => {
                        tracing::warn!(%error, "an object has a name that no location has, it is not listed");
                        None
                    }
                }
            })
            .collect();
        let next = listed.page_token.map_or(Page::Last, Page::After);
        Ok((objects, next))
    }

    /// Length and mark of the object.
    async fn head(&self, object: &Object) -> Result<(u64, Option<String>), Problem> {
        let head = self.tried("look at", object, || async {
            let options = GetOptions::new().with_head(true);
            let found = object.bucket.store.get_opts(&object.key, options).await?;
            let mark = found.attributes.get(&Attribute::Metadata(MARK.into()));
            Ok((found.meta.size, mark.map(|mark| mark.as_ref().to_owned())))
        });
        match head.await {
            Err(problem @ Problem::Other(_)) if problem.again() == Again::Never => {
                // The answer to HEAD has no words. A read that fails alike has.
                match self.read_range(object, 0..1).await {
                    Err(told @ Problem::Other(_)) => Err(told),
                    _ => Err(problem),
                }
            }
            done => done,
        }
    }

    /// Writes what fits in one call.
    pub(crate) async fn put_new(&self, object: &Object, pieces: PutPayload) -> Result<(), Error> {
        let mark = Mark::new();
        let put = self.tried("write", object, || {
            let options = PutOptions {
                mode: PutMode::Create,
                attributes: mark.attributes(),
                ..PutOptions::default()
            };
            object
                .bucket
                .store
                .put_opts(&object.key, pieces.clone(), options)
        });
        match put.await {
            Ok(_) => Ok(()),
            Err(Problem::Exists) => self.ours(object, &mark, pieces.content_length()).await,
            Err(problem) => Err(problem.error(object)),
        }
    }

    /// What exists is a success if we wrote it: an answer was lost.
    async fn ours(&self, object: &Object, mark: &Mark, length: usize) -> Result<(), Error> {
        match self.head(object).await {
            Ok((size, Some(there))) if there == mark.0 && size == length as u64 => Ok(()),
            Ok(_) => Err(Problem::Exists.error(object)),
            Err(problem) => Err(problem.error(object)),
        }
    }

    /// Deletes objects of one bucket and says of each what became of it.
    pub(crate) async fn delete(&self, objects: &[Object]) -> Vec<Result<(), Error>> {
        let batches: Vec<Vec<Object>> = objects
            .chunks(DELETE_KEYS_MAX)
            .map(<[Object]>::to_vec)
            .collect();
        let deletes = batches
            .into_iter()
            .map(|batch| async move { self.delete_batch(&batch).await });
        let done: Vec<_> = futures::stream::iter(deletes)
            .buffered(DELETES_AT_ONCE)
            .collect()
            .await;
        done.into_iter().flatten().collect()
    }

    async fn delete_batch(&self, batch: &[Object]) -> Vec<Result<(), Error>> {
        let retry = self.settings.limits.retry;
        let mut ends: Vec<_> = self.delete_once(batch).await;
        for tries in 1..retry.tries_max {
            let again = |at: usize| {
                ends[at]
                    .as_ref()
                    .map_or_else(Problem::again, |()| Again::Never)
            };
            let open: Vec<usize> = (0..batch.len())
                .filter(|at| again(*at) != Again::Never)
                .collect();
            let Some(longest) = open.iter().map(|at| again(*at)).max() else {
                break;
            };
            let first = &batch[open[0]].location;
            retry.pause(first, tries, longest).await;
            let again: Vec<Object> = open.iter().map(|at| batch[*at].clone()).collect();
            for (at, end) in open.into_iter().zip(self.delete_once(&again).await) {
                ends[at] = end;
            }
        }
        let ends = batch.iter().zip(ends);
        ends.map(|(object, end)| end.map_err(|problem| problem.error(object)))
            .collect()
    }

    async fn delete_once(&self, batch: &[Object]) -> Vec<Result<(), Problem>> {
        let Some(first) = batch.first() else {
            return Vec::new();
        };
        let _permit = self.permit().await;
        if let Err(why) = self.sign_in().await {
            let refused = |object| Err(no_key("delete", object, &why));
            return batch.iter().map(refused).collect();
        }
        let mut keys: Vec<Path> = batch.iter().map(|object| object.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let asked = futures::stream::iter(keys.clone().into_iter().map(Ok)).boxed();
        let ends: Vec<_> = first.bucket.store.delete_stream(asked).collect().await;
        let end = |object: &Object| {
            let own = keys.binary_search(&object.key).ok();
            match own.filter(|_| ends.len() == keys.len()) {
                Some(at) => ends.get(at),
                // A batch that failed as a whole has one end for all its keys.
                None => ends.iter().find(|end| end.is_err()),
            }
        };
        let told = batch.iter().map(|object| match end(object) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => explain_delete(object, error),
            None => Err(unsaid(object)),
        });
        told.collect()
    }

    /// Fails where no keys are to be had.
    async fn sign_in(&self) -> Result<(), String> {
        self.maker()?.sign_in().await
    }

    async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        let permit = self.calls.acquire().await;
        permit.expect("the semaphore is never closed")
    }

    /// Calls again while the failure may pass.
    async fn tried<T, F>(
        &self,
        doing: &'static str,
        object: &Object,
        call: impl Fn() -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let call = &call;
        let once = || async move {
            let _permit = self.permit().await;
            let signed_in = self.sign_in().await;
            signed_in.map_err(|why| no_key(doing, object, &why))?;
            call().await.map_err(|error| explain(doing, object, &error))
        };
        let retry = self.settings.limits.retry;
        retry.run(&object.location, Problem::again, once).await
    }
}

/// Which page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    First,
    /// That of this token.
    After(String),
    /// There is none after it.
    Last,
}

/// Tells one write from all others.
#[derive(Debug)]
struct Mark(String);

impl Mark {
    fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    fn attributes(&self) -> Attributes {
        Attributes::from_iter([(Attribute::Metadata(MARK.into()), self.0.clone())])
    }
}
