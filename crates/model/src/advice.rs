//! What a caller should do about an error.

/// The retry policy looks at nothing but this; every crate's `Error::advice()` returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The same call may succeed after a pause (network, server restart, lock timeout).
    RetryLater,
    /// The table moved: load it again and plan again.
    PlanAgain,
    /// Nothing will change by trying again (bad input, unsupported, missing file).
    GiveUp,
    /// Somebody else holds the job now: stop silently, write nothing.
    Stop,
    /// It may or may not have happened: find out before doing anything else.
    FindOut,
}
