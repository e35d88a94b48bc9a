//! What may go wrong with a call, by kind, and saying each kind once.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tracing::{info, warn};

use crate::Error;

/// The first pause after a call that failed; doubled with each further one up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Why a call did not do what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No connection, or an answer of the 500s.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// 401: the token is not taken.
    Unauthorized,
    /// 403: a role is missing.
    Forbidden,
    /// 404: the object is not there.
    Missing,
    /// 409: somebody else was faster, or it is there already.
    Conflict,
    /// 429: too much is asked of the API server.
    Throttled,
    /// Anything else: the request or the answer is not understood.
    Invalid,
}

impl Trouble {
    /// In one word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Invalid => "invalid",
        }
    }

    pub(crate) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_code(status.code),
            kube::Error::HyperError(_) | kube::Error::Service(_) => Self::Unreachable,
            kube::Error::Auth(_) => Self::Unauthorized,
            _ => Self::Invalid,
        }
    }

    fn of_code(code: u16) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::Missing,
            408 => Self::Timeout,
            409 => Self::Conflict,
            429 => Self::Throttled,
            500.. => Self::Unreachable,
            _ => Self::Invalid,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The troubles of one thing that is tried again and again: each kind is said once until it works
/// again, and the pauses between tries grow.
#[derive(Debug)]
pub(crate) struct Troubles {
    /// What does not work, as in `the pod's marks`.
    what: &'static str,
    said: BTreeSet<Trouble>,
    pause: Duration,
}

impl Troubles {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            said: BTreeSet::new(),
            pause: PAUSE_MIN,
        }
    }

    /// Says it if it is new, and how long to wait before the next try.
    pub(crate) fn failed(&mut self, error: &Error) -> Duration {
        if self.said.insert(error.trouble()) {
            let why = runtime::chain(error);
            warn!(
                what = self.what,
                why, "Kubernetes refuses; going on without"
            );
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }

    pub(crate) fn worked(&mut self) {
        self.pause = PAUSE_MIN;
        if !self.said.is_empty() {
            self.said.clear();
            info!(what = self.what, "Kubernetes answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;

    fn error(trouble: Trouble) -> Error {
        let call = Call::new("patch", "pods", "p", "ns");
        let said = String::new();
        Error::Refused {
            call,
            trouble,
            said,
        }
    }

    #[test]
    fn each_kind_is_said_once_until_it_works_again() {
        let mut troubles = Troubles::new("marks");
        for trouble in [Trouble::Timeout, Trouble::Forbidden, Trouble::Timeout] {
            troubles.failed(&error(trouble));
        }
        let said: Vec<Trouble> = troubles.said.iter().copied().collect();
        assert_eq!(said, [Trouble::Timeout, Trouble::Forbidden]);
        troubles.worked();
        assert!(troubles.said.is_empty());
    }

    #[test]
    fn pauses_grow_up_to_a_minute_and_start_anew_once_it_works() {
        let mut troubles = Troubles::new("marks");
        let mut seconds = || troubles.failed(&error(Trouble::Timeout)).as_secs();
        let pauses: Vec<u64> = (0..6).map(|_| seconds()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        troubles.worked();
        assert_eq!(troubles.failed(&error(Trouble::Timeout)).as_secs(), 5);
    }

    #[test]
    fn answers_are_told_apart_by_their_code() {
        for (code, want) in [
            (400, Trouble::Invalid),
            (401, Trouble::Unauthorized),
            (403, Trouble::Forbidden),
            (404, Trouble::Missing),
            (409, Trouble::Conflict),
            (422, Trouble::Invalid),
            (429, Trouble::Throttled),
            (500, Trouble::Unreachable),
            (503, Trouble::Unreachable),
        ] {
            assert_eq!(Trouble::of_code(code), want, "{code}");
        }
    }
}
