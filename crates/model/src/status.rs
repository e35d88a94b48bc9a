//! Job statuses, what moves a job from one to the next, and why a job ended.

use serde::{Deserialize, Serialize};

macro_rules! named {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in declaration order; the table's CHECK constraint lists the same.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the text form; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Where a job is in its life (seed 000, `jobs.status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

named!(JobStatus {
    Pending = "pending",
    Running = "running",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
});

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Claimed,
    /// Lease lost or handed back: the job waits for another attempt.
    Returned,
    Succeeded,
    Broke,
    CancelAsked,
}

impl JobStatus {
    /// True once nothing can change the job any more.
    pub fn terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The status after `event`, or `None` when that cannot happen.
    pub fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Pending, Event::Claimed) => Some(Self::Running),
            (Self::Running, Event::Returned) => Some(Self::Pending),
            (Self::Running, Event::Succeeded) => Some(Self::Completed),
            // A pending job breaks when it may not run again: attempts spent or deadline over.
            (Self::Pending | Self::Running, Event::Broke) => Some(Self::Failed),
            (Self::Pending | Self::Running, Event::CancelAsked) => Some(Self::Cancelled),
            (Self::Pending, Event::Returned | Event::Succeeded)
            | (Self::Running, Event::Claimed)
            | (Self::Completed | Self::Failed | Self::Cancelled, _) => None,
        }
    }
}

/// Why a job did not complete (`jobs.reason`; null for a completed job).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// An action failed and trying again would not help.
    ActionFailed,
    /// Every attempt was used up.
    Exhausted,
    /// The job's own deadline passed before it was done.
    Deadline,
    /// The last attempt was stopped by the watchdog or the attempt's deadline.
    Timeout,
    /// Somebody asked for it.
    Cancelled,
}

named!(EndReason {
    ActionFailed = "action_failed",
    Exhausted = "exhausted",
    Deadline = "deadline",
    Timeout = "timeout",
    Cancelled = "cancelled",
});

/// How one executed action ended (`job_actions.outcome`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    Done,
    NothingToDo,
    Failed,
    Skipped,
}

named!(ActionOutcome {
    Done = "done",
    NothingToDo = "nothing_to_do",
    Failed = "failed",
    Skipped = "skipped",
});

impl ActionOutcome {
    /// The seed's `success` column.
    pub fn success(self) -> bool {
        matches!(self, Self::Done | Self::NothingToDo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 5] = [
        Event::Claimed,
        Event::Returned,
        Event::Succeeded,
        Event::Broke,
        Event::CancelAsked,
    ];

    #[test]
    fn nothing_leaves_a_terminal_status() {
        for status in JobStatus::ALL.iter().filter(|status| status.terminal()) {
            for event in EVENTS {
                assert_eq!(status.after(event), None, "{status} {event:?}");
            }
        }
    }

    #[test]
    fn every_name_is_read_back() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::parse(status.as_str()), Some(*status));
        }
        assert_eq!(JobStatus::parse("done"), None);
    }
}
