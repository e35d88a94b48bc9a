//! One object written piece by piece: in one call when it is small, in parts while it grows
//! when it is not.
//!
//! At most [`PARTS_AT_ONCE`] parts are under way while one more gathers, so an upload holds at
//! most three parts' bytes. What is not finished is aborted; an upload whose process was killed
//! stays invisible on the server until a lifecycle rule (`AbortIncompleteMultipartUpload`) ends it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::{MultipartId, PutMultipartOptions, PutPayload};
use tokio::task::JoinSet;

use super::refusal::Problem;
use super::{Mark, Object, S3};
use crate::{Error, Fault};

/// Length of every part but the last; some servers want all alike, and none less than 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Parts of one object under way at once.
const PARTS_AT_ONCE: usize = 2;
/// Parts of one object, as S3 allows.
const PARTS_MAX: usize = 10_000;

/// An object being written. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct Upload {
    s3: Arc<S3>,
    object: Object,
    mark: Mark,
    gathered: VecDeque<Bytes>,
    gathered_bytes: usize,
    total_bytes: usize,
    /// Once the first part is full.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    id: MultipartId,
    begun: usize,
    done: Vec<(usize, PartId)>,
    open: JoinSet<Result<(usize, PartId), Error>>,
}

impl Upload {
    pub(crate) fn new(s3: Arc<S3>, object: Object) -> Self {
        Self {
            s3,
            object,
            mark: Mark::new(),
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            total_bytes: 0,
            parts: None,
        }
    }

    pub(crate) async fn put(&mut self, piece: Bytes) -> Result<(), Error> {
        self.gathered_bytes += piece.len();
        self.total_bytes += piece.len();
        self.gathered.push_back(piece);
        // What is exactly one part may be all there is, and then one call is enough.
        while self.gathered_bytes > PART_BYTES {
            self.send(PART_BYTES).await?;
        }
        Ok(())
    }

    /// Makes it visible, unless something lies there by now.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        if self.parts.is_none() {
            let all = self.cut(PART_BYTES);
            return self.s3.put_new(&self.object, all).await;
        }
        self.send(PART_BYTES).await?;
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        while parts.reap(&self.object).await? {}
        parts.done.sort_unstable_by_key(|(number, _)| *number);
        let ids = parts.done.drain(..).map(|(_, id)| id).collect();
        self.complete(ids).await?;
        // Nothing is left to abort.
        self.parts = None;
        Ok(())
    }

    /// Sends what is gathered, up to `length` bytes, as the next part.
    async fn send(&mut self, length: usize) -> Result<(), Error> {
        let bytes = self.cut(length);
        let parts = if let Some(parts) = &mut self.parts {
            parts
        } else {
            let id = begin(&self.s3, &self.object, &self.mark).await?;
            self.parts.insert(Parts::new(id))
        };
        while parts.open.len() >= PARTS_AT_ONCE {
            parts.reap(&self.object).await?;
        }
        if parts.begun == PARTS_MAX {
            return Err(Error::BadLocation {
                location: self.object.location.clone(),
                why: "an object of more than 10000 parts of 8 MiB is not built in this version",
            });
        }
        let (s3, object, id) = (self.s3.clone(), self.object.clone(), parts.id.clone());
        let number = parts.begun;
        parts.begun += 1;
        parts.open.spawn(async move {
            let put = s3.tried("write a part of", &object, || {
                let (key, bytes) = (&object.key, bytes.clone());
                object.bucket.store.put_part(key, &id, number, bytes)
            });
            match put.await {
                Ok(part) => Ok((number, part)),
                Err(problem) => Err(problem.error(&object)),
            }
        });
        Ok(())
    }

    /// Takes up to `length` bytes from the front.
    fn cut(&mut self, length: usize) -> PutPayload {
        let mut pieces = Vec::new();
        let mut left = length;
        while left > 0 {
            let Some(mut piece) = self.gathered.pop_front() else {
                break;
            };
            if piece.len() > left {
                self.gathered.push_front(piece.split_off(left));
            }
            left -= piece.len();
            pieces.push(piece);
        }
        self.gathered_bytes -= length - left;
        pieces.into_iter().collect()
    }

    async fn complete(&self, ids: Vec<PartId>) -> Result<(), Error> {
        let (s3, object) = (&self.s3, &self.object);
        let Some(Parts { id, .. }) = &self.parts else {
            return Ok(());
        };
        // For servers that do not know conditions here: no other writer is after this path,
        // which carries the attempt's id, so looking before is as good.
        match s3.head(object).await {
            Ok(_) => return Err(Problem::Exists.error(object)),
            // Whoever may not list is not told of a missing object.
            Err(Problem::Other(Error::NotFound { .. })) => {}
            Err(Problem::Other(Error::Bucket(error)))
                if matches!(error.fault, Fault::Denied { .. }) => {}
            Err(problem) => return Err(problem.error(object)),
        }
        let completed = s3.tried("finish", object, || {
            let (key, ids) = (&object.key, ids.clone());
            object.bucket.store.complete_multipart(key, id, ids)
        });
        match completed.await {
            Ok(_) => Ok(()),
            // Gone because an earlier try did it, if it is there with our mark.
            Err(Problem::Exists | Problem::NoUpload) => {
                s3.ours(object, &self.mark, self.total_bytes).await
            }
            Err(problem) => Err(problem.error(object)),
        }
    }
}

async fn begin(s3: &S3, object: &Object, mark: &Mark) -> Result<MultipartId, Error> {
    let begun = s3.tried("begin", object, || {
        let options = PutMultipartOptions {
            attributes: mark.attributes(),
            ..PutMultipartOptions::default()
        };
        let store = &object.bucket.store;
        store.create_multipart_opts(&object.key, options)
    });
    begun.await.map_err(|problem| problem.error(object))
}

impl Parts {
    fn new(id: MultipartId) -> Self {
        Self {
            id,
            begun: 0,
            done: Vec::new(),
            open: JoinSet::new(),
        }
    }

    /// Waits for one part; false when none is under way.
    async fn reap(&mut self, object: &Object) -> Result<bool, Error> {
        let Some(ended) = self.open.join_next().await else {
            return Ok(false);
        };
        let part = ended.map_err(|error| Error::Failed {
            doing: "write a part of",
            location: object.location.clone(),
            source: std::io::Error::other(error),
        })?;
        self.done.push(part?);
        Ok(true)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(mut parts), Ok(runtime)) =
            (self.parts.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (s3, object) = (self.s3.clone(), self.object.clone());
        runtime.spawn(async move {
            // A part that arrives after the abort would stay.
            parts.open.shutdown().await;
            let aborted = s3.tried("abort", &object, || {
                let store = &object.bucket.store;
                store.abort_multipart(&object.key, &parts.id)
            });
            if let Err(problem) = aborted.await
                && !matches!(problem, Problem::NoUpload)
            {
                let error = problem.error(&object);
                tracing::warn!(%error, "multipart upload left behind");
            }
        });
    }
}
