//! A file's footer, read once, and the fields it says the file has.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};
use storage::Storage;

use super::shape::{field_id, with_views};
use super::sound;
use crate::Error;

/// What is fetched from the end of a large file in the hope that it holds the footer, in bytes.
const FOOTER_GUESS_BYTES: u64 = 64 << 10;
/// Longest footer read, in bytes.
const FOOTER_BYTES_MAX: u64 = 256 << 20;
/// Length of what follows the footer: its length and the magic number.
const TAIL_BYTES: usize = 8;

/// Parses the footer of a file whose bytes are all here.
pub(crate) fn parse(location: &str, bytes: &Bytes) -> Result<ArrowReaderMetadata, Error> {
    let size = bytes.len() as u64;
    let length = length(location, size, bytes)?;
    decode(location, size, bytes, length)
}

/// Reads the footer of a file of `size` bytes.
pub(crate) async fn fetch(
    storage: &Storage,
    location: &str,
    size: u64,
) -> Result<ArrowReaderMetadata, Error> {
    let start = size.saturating_sub(FOOTER_GUESS_BYTES);
    let mut end = read(storage, location, start..size).await?;
    let length = length(location, size, &end)?;
    if length > end.len() as u64 {
        end = read(storage, location, size - length..size).await?;
    }
    decode(location, size, &end, length)
}

/// How long the footer is with what follows it, by the `end` of a file of `size` bytes.
fn length(location: &str, size: u64, end: &[u8]) -> Result<u64, Error> {
    let no = |why: &str| Error::BadFile {
        location: location.to_owned(),
        why: why.to_owned(),
    };
    let tail: [u8; TAIL_BYTES] = *end
        .last_chunk()
        .ok_or_else(|| no("too short for a Parquet file"))?;
    let tail = FooterTail::try_from(tail).map_err(|e| bad(location, e))?;
    if tail.is_encrypted_footer() {
        return Err(no("its footer is encrypted"));
    }
    let length = (tail.metadata_length() + TAIL_BYTES) as u64;
    if length > size {
        return Err(no("its footer is said to be longer than the file"));
    }
    if length > FOOTER_BYTES_MAX {
        return Err(no(&format!(
            "its footer has {length} bytes, at most {FOOTER_BYTES_MAX} are read"
        )));
    }
    Ok(length)
}

/// Decodes the footer whose `length` bytes are at the `end` of a file of `size` bytes.
fn decode(
    location: &str,
    size: u64,
    end: &Bytes,
    length: u64,
) -> Result<ArrowReaderMetadata, Error> {
    let footer = end.slice(end.len() - length as usize..end.len() - TAIL_BYTES);
    sound::footer(location, &footer)?;
    sound::guarded(location, || {
        let footer =
            ParquetMetaDataReader::decode_metadata(&footer).map_err(|e| bad(location, e))?;
        sound::places(location, size, &footer)?;
        readable(location, footer)
    })
}

async fn read(
    storage: &Storage,
    location: &str,
    range: std::ops::Range<u64>,
) -> Result<Bytes, Error> {
    let doing = "read the footer of a data file";
    let mut bytes = storage
        .read_ranges(location, &[range])
        .await
        .map_err(|source| Error::Storage { doing, source })?;
    Ok(bytes.pop().unwrap_or_default())
}

fn bad(location: &str, source: ParquetError) -> Error {
    Error::Parquet {
        doing: "read the footer of",
        location: location.to_owned(),
        source,
    }
}

/// Ignores an embedded Arrow schema: the Parquet types are what counts.
fn readable(location: &str, footer: ParquetMetaData) -> Result<ArrowReaderMetadata, Error> {
    let footer = Arc::new(footer);
    let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let inferred =
        ArrowReaderMetadata::try_new(Arc::clone(&footer), plain).map_err(|e| bad(location, e))?;
    let views = ArrowReaderOptions::new().with_schema(with_views(inferred.schema()));
    ArrowReaderMetadata::try_new(footer, views).map_err(|e| bad(location, e))
}

/// Refuses a file that does not say which field is which: matching by name could mix them up.
pub(crate) fn require_field_ids(location: &str, fields: &Fields) -> Result<(), Error> {
    fields
        .iter()
        .try_for_each(|field| require_field_id(location, field, field.name()))
}

fn require_field_id(location: &str, field: &Field, name: &str) -> Result<(), Error> {
    if field_id(field).is_none() {
        return Err(Error::Refused(format!(
            "{location} has no field id for column {name}"
        )));
    }
    let child =
        |child: &Field| require_field_id(location, child, &format!("{name}.{}", child.name()));
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().try_for_each(|field| child(field)),
        DataType::List(element) => child(element),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.iter().try_for_each(|field| child(field)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
