//! What can go wrong at an object. Every variant names the location.

use std::io;

use model::Advice;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{location} does not exist")]
    NotFound { location: String },
    /// Something lies there already; it was left as it was.
    #[error("{location} exists already")]
    AlreadyExists { location: String },
    #[error("location `{location}`: {why}")]
    BadLocation { location: String, why: &'static str },
    /// The scheme is known but not built, or not known at all.
    #[error("{location}: scheme `{scheme}` is not built in this version; built: {built}")]
    Unsupported {
        location: String,
        scheme: String,
        built: &'static str,
    },
    /// The settings forbid it, whatever the keys allow.
    #[error("{location} {why}")]
    NotAllowed { location: String, why: String },
    #[error("{name} = `{value}`: allowed: {allowed}")]
    BadSetting {
        name: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error(
        "{name} is set and {missing} is not; set both, or neither to use AWS's own ways to a key"
    )]
    HalfSet {
        name: &'static str,
        missing: &'static str,
    },
    #[error(transparent)]
    Bucket(Box<BucketError>),
    #[error("{location}: bytes {start}..{end} lie outside its {size} bytes")]
    OutOfRange {
        location: String,
        start: u64,
        end: u64,
        size: u64,
    },
    /// Not read, for it would take more memory than it may.
    #[error("{location} has {size} bytes, at most {max} are read at once")]
    TooLong {
        location: String,
        size: u64,
        max: u64,
    },
    #[error("{doing} {location}")]
    Failed {
        doing: &'static str,
        location: String,
        #[source]
        source: io::Error,
    },
}

/// A bucket that cannot be used as things are set up.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {location}: bucket `{bucket}` {fault}")]
pub struct BucketError {
    pub doing: &'static str,
    pub location: String,
    pub bucket: String,
    pub fault: Fault,
}

/// What is wrong with a bucket, and what to set.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(
        "does not exist at {endpoint}; check its name, SNOWPACK_S3_ENDPOINT and SNOWPACK_S3_REGION"
    )]
    Missing { endpoint: String },
    #[error(
        "refused the key: {why}; check SNOWPACK_S3_ACCESS_KEY_ID and SNOWPACK_S3_SECRET_ACCESS_KEY, or what the role may do"
    )]
    Denied { why: String },
    #[error(
        "needs a key and none was found: {why}; set SNOWPACK_S3_ACCESS_KEY_ID and SNOWPACK_S3_SECRET_ACCESS_KEY, or AWS_* variables, or give the machine a role"
    )]
    NoKey { why: String },
    #[error("does not lie in region {set}; set SNOWPACK_S3_REGION to {region}")]
    WrongRegion { set: String, region: String },
    #[error("cannot be reached at {endpoint}: {why}; check SNOWPACK_S3_ENDPOINT")]
    Unreachable { endpoint: String, why: String },
}

impl Fault {
    fn advice(&self) -> Advice {
        match self {
            // Whoever gives out keys is a server too.
            Self::NoKey { .. } | Self::Unreachable { .. } => Advice::RetryLater,
            Self::Missing { .. } | Self::Denied { .. } | Self::WrongRegion { .. } => Advice::GiveUp,
        }
    }
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Failed { source, .. } if passing(source) => Advice::RetryLater,
            Self::Bucket(error) => error.fault.advice(),
            Self::Failed { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::BadLocation { .. }
            | Self::Unsupported { .. }
            | Self::NotAllowed { .. }
            | Self::BadSetting { .. }
            | Self::HalfSet { .. }
            | Self::OutOfRange { .. }
            | Self::TooLong { .. } => Advice::GiveUp,
        }
    }

    pub(crate) fn io(doing: &'static str, location: &str, source: io::Error) -> Self {
        let location = location.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { location },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { location },
            _ => Self::Failed {
                doing,
                location,
                source,
            },
        }
    }
}

/// "Input/output error", "too many open files" in the system and in the process.
const EIO: i32 = 5;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Whether the same call may succeed a moment later.
fn passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::TimedOut
            | Kind::WouldBlock
            | Kind::ResourceBusy
            | Kind::StaleNetworkFileHandle
            | Kind::NetworkDown
            | Kind::HostUnreachable
            | Kind::ConnectionReset
            | Kind::StorageFull
    ) || matches!(error.raw_os_error(), Some(EIO | ENFILE | EMFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_worth_another_try() {
        for (kind, want) in [
            (io::ErrorKind::TimedOut, Advice::RetryLater),
            (io::ErrorKind::StorageFull, Advice::RetryLater),
            (io::ErrorKind::PermissionDenied, Advice::GiveUp),
            (io::ErrorKind::NotFound, Advice::GiveUp),
        ] {
            let error = Error::io("read", "/t/a", io::Error::from(kind));
            assert_eq!(error.advice(), want, "{kind:?}");
            assert!(error.to_string().contains("/t/a"), "{error}");
        }
        let many = Error::io("read", "/t/a", io::Error::from_raw_os_error(EMFILE));
        assert_eq!(many.advice(), Advice::RetryLater);
    }
}
