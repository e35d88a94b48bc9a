//! Why no plan could be made.

use model::Advice;

use crate::BadOption;

/// The table, the options or the clock rule an expiry out; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; expire_snapshots supports versions 1 and 2 in this \
         version"
    )]
    FormatVersion(u8),
    #[error("the table has no uuid, so its expired files could not be told from another table's")]
    NoUuid,
    #[error(
        "table property `gc.enabled` = `{0}`: files of this table may belong to others too, so \
         nothing is expired"
    )]
    GarbageKept(String),
    #[error("table property `{key}` = `{value}`: {why}")]
    Property {
        key: &'static str,
        value: String,
        why: String,
    },
    #[error("ref `{name}`: `{key}` = `{value}`: {why}")]
    RefSetting {
        name: String,
        key: &'static str,
        value: i64,
        why: &'static str,
    },
    #[error("snapshots to expire are not in the table: {0}")]
    UnknownSnapshots(String),
    #[error("snapshot {id} cannot be expired: ref `{name}` names it")]
    Referenced { id: i64, name: String },
    #[error("snapshot {id} cannot be expired: branch `{name}` keeps it by its own retention")]
    KeptByBranch { id: i64, name: String },
    #[error(
        "the clock says {now_ms}, more than a minute before the table's last update at \
         {last_updated_ms}: ages counted from it would be wrong"
    )]
    Clock { now_ms: i64, last_updated_ms: i64 },
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Refused {
    pub fn advice(&self) -> Advice {
        match self {
            // Clocks are set right.
            Self::Clock { .. } => Advice::RetryLater,
            Self::FormatVersion(_)
            | Self::NoUuid
            | Self::GarbageKept(_)
            | Self::Property { .. }
            | Self::RefSetting { .. }
            | Self::UnknownSnapshots(_)
            | Self::Referenced { .. }
            | Self::KeptByBranch { .. }
            | Self::Option(_) => Advice::GiveUp,
        }
    }
}
