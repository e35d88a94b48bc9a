//! Avro object containers, read lean and written byte for byte.
//!
//! Ours because manifests need what a general library does not give: decoding only the fields
//! wanted, bounds on every length of hostile input, entries carried as the bytes they were
//! written in (unknown fields survive), and schemas kept as the text they were written as.
//! Knows nothing of Iceberg but the attribute `field-id`.

mod codec;
mod container;
mod cursor;
mod encode;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use codec::Codec;
pub(crate) use container::{BLOCK_BYTES, Container, ContainerWriter, SCHEMA, header};
pub(crate) use cursor::Cursor;
pub(crate) use encode::Encoder;
pub(crate) use schema::{Column, Kind, Node};

/// Why bytes are not the Avro they should be. Callers add which file it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(Box<str>);

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into().into_boxed_str())
    }

    /// Says where it was found.
    pub(crate) fn within(&self, place: &str) -> Self {
        Self::new(format!("{place}: {self}"))
    }
}

impl From<Malformed> for String {
    fn from(why: Malformed) -> Self {
        why.0.into_string()
    }
}
