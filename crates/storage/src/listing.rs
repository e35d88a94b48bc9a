//! What lies below a folder: [`Listing`], page by page.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;

use crate::store::Storage;
use crate::{Error, Location, local, s3};

/// An object found below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub location: Location,
    pub size_bytes: u64,
    /// When it was last written, by the store's clock, in milliseconds since the epoch; `None` when
    /// the store does not tell.
    pub modified_ms: Option<i64>,
}

/// The objects below a folder, in no order. What comes or goes meanwhile may be among them or not;
/// all others are, once.
///
/// Of local files only plain ones are: a link is not followed, [`Listing::link`] tells. Of S3 an object without
/// bytes is left out: it may be a folder's mark.
#[derive(Debug)]
pub struct Listing {
    storage: Storage,
    /// As its caller called it.
    folder: String,
    rest: Rest,
}

/// What is still to be listed.
#[derive(Debug)]
enum Rest {
    /// `None` once a step failed: what is left is not known.
    Local(Option<local::Walk>),
    S3 {
        s3: Arc<s3::S3>,
        folder: s3::Object,
        page: s3::Page,
    },
}

impl Listing {
    pub(crate) fn local(storage: Storage, folder: String, path: PathBuf) -> Self {
        let rest = Rest::Local(Some(local::Walk::new(folder.clone(), path)));
        Self {
            storage,
            folder,
            rest,
        }
    }

    pub(crate) fn s3(storage: Storage, s3: Arc<s3::S3>, folder: s3::Object) -> Self {
        Self {
            storage,
            folder: folder.location.clone(),
            rest: Rest::S3 {
                s3,
                folder,
                page: s3::Page::First,
            },
        }
    }

    /// The first link met so far, of local files: what lies behind it has two names, or lies elsewhere.
    pub fn link(&self) -> Option<String> {
        match &self.rest {
            Rest::Local(Some(walk)) => walk.link().map(|link| link.display().to_string()),
            Rest::Local(None) | Rest::S3 { .. } => None,
        }
    }

    /// The next objects, or `None` when there are no more. Pages may be empty.
    pub async fn next(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        match &mut self.rest {
            Rest::Local(walk) => {
                let taken = walk.take().ok_or_else(|| Error::Failed {
                    doing: "go on listing",
                    location: self.folder.clone(),
                    source: std::io::Error::other("an earlier step failed"),
                })?;
                let (rest, files) = self
                    .storage
                    .once(&self.folder, move || taken.step())
                    .await?;
                *walk = Some(rest);
                Ok(files)
            }
            Rest::S3 { s3, folder, page } => {
                if *page == s3::Page::Last {
                    return Ok(None);
                }
                let (objects, next) = s3.list(folder, page).boxed().await?;
                *page = next;
                Ok(Some(objects))
            }
        }
    }
}
