//! What can go wrong with metadata.

use model::Advice;

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what they should be; `at` names the document or file and the field.
    #[error("{at}: {why}")]
    Malformed { at: String, why: String },
    /// As `Malformed`, with the library's own words as the source.
    #[error("read {at}")]
    Unreadable {
        at: String,
        #[source]
        source: Source,
    },
    /// An update cannot be made to this table.
    #[error("{action}: {why}")]
    Update { action: &'static str, why: String },
    /// Valid, but not built in this version, and why.
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Storage(source) => source.advice(),
            Self::Malformed { .. }
            | Self::Unreadable { .. }
            | Self::Update { .. }
            | Self::Unsupported(_) => Advice::GiveUp,
        }
    }

    pub(crate) fn malformed(at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Malformed {
            at: at.into(),
            why: why.into(),
        }
    }
}
