//! Locations in their one normal form, and objects read and written at them.
//!
//! Knows nothing of Iceberg. Retries, calls at once, open files and waste by coalescing are
//! bounded; every request has a timeout. What is promised, and what carries it:
//!
//! | | local files | S3 |
//! |---|---|---|
//! | nothing that exists is replaced | a hard link fails | `If-None-Match: *` on the put and on the end of a multipart upload; servers that ignore the latter are asked whether the object exists just before |
//! | readers see all of it or nothing | linked when complete | S3's own promise |
//! | written is written | synced, its folder too | S3's own promise |
//! | a lost answer is no conflict | - | each write carries a mark of its own in the object's metadata; what exists with our mark is ours |
//! | what was not finished goes | temporary file: at drop, else when its name is deleted | multipart upload: at drop, else by a lifecycle rule |
//! | deleting what is not there succeeds | yes | yes |

mod allowed;
mod args;
mod error;
mod listing;
mod local;
mod location;
mod ranges;
mod retry;
mod s3;
mod store;

pub use args::Args;
pub use error::{BucketError, Error, Fault};
pub use listing::{Listed, Listing};
pub use location::{Location, Scheme};
pub use s3::{http_client, on_this_host};
pub use store::{Storage, Upload};
