//! Why no plan could be made.

use model::Advice;

use crate::BadOption;

/// The table or the options rule a rewrite out; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; rewrite_data_files supports versions 1 and 2 in this version"
    )]
    FormatVersion(u8),
    #[error(
        "the table has deletion vectors ({files}, {example} holds one), which cannot be applied in \
         this version"
    )]
    DeletionVectors { files: usize, example: String },
    #[error("table property `{key}` = `{value}`: {why}")]
    Property {
        key: &'static str,
        value: String,
        why: String,
    },
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Refused {
    /// Neither the table nor the options change by trying again.
    pub fn advice(&self) -> Advice {
        match self {
            Self::FormatVersion(_)
            | Self::DeletionVectors { .. }
            | Self::Property { .. }
            | Self::Option(_) => Advice::GiveUp,
        }
    }
}
