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
    #[error("{location}: scheme `{scheme}` is not built in this version; built: local files")]
    Unsupported { location: String, scheme: String },
    #[error("{name} is reserved: S3 is not built in this version; unset it")]
    Reserved { name: &'static str },
    #[error("{location}: bytes {start}..{end} lie outside its {size} bytes")]
    OutOfRange {
        location: String,
        start: u64,
        end: u64,
        size: u64,
    },
    #[error("{doing} {location}")]
    Failed {
        doing: &'static str,
        location: String,
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Failed { source, .. } if passing(source) => Advice::RetryLater,
            Self::Failed { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::BadLocation { .. }
            | Self::Unsupported { .. }
            | Self::Reserved { .. }
            | Self::OutOfRange { .. } => Advice::GiveUp,
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
pub(crate) fn passing(error: &io::Error) -> bool {
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
