//! Input files: opened once, fetched whole when small, column chunk by column chunk when large.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use storage::Storage;

use super::footer;
use crate::Error;

/// Files below this are fetched with one GET, in bytes.
pub(crate) const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// A data file that was opened.
#[derive(Debug, Clone)]
pub(crate) struct InputFile {
    pub(crate) location: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) footer: ArrowReaderMetadata,
    /// All of it, when it is small and was to be kept.
    kept: Arc<Mutex<Option<Bytes>>>,
}

impl InputFile {
    /// Reads the footer, or all of a small file that is to be kept. The file must be as long as its
    /// manifest says and hold as many rows.
    pub(crate) async fn open(
        storage: &Storage,
        location: &str,
        size: u64,
        records: u64,
        keep: bool,
    ) -> Result<Self, Error> {
        if !(keep && Self::is_small(size)) {
            let footer = footer::fetch(storage, location, size).await?;
            return Self::opened(location, size, records, footer);
        }
        let bytes = read_whole(storage, location).await?;
        if bytes.len() as u64 != size {
            let why = format!("it has {} bytes, its manifest says {size}", bytes.len());
            return Err(Error::BadFile {
                location: location.to_owned(),
                why,
            });
        }
        Self::of_bytes(location, bytes, records)
    }

    /// A file all of whose bytes are here.
    pub(crate) fn of_bytes(location: &str, bytes: Bytes, records: u64) -> Result<Self, Error> {
        let footer = footer::parse(location, &bytes)?;
        let file = Self::opened(location, bytes.len() as u64, records, footer)?;
        *file.lock() = Some(bytes);
        Ok(file)
    }

    fn opened(
        location: &str,
        size: u64,
        records: u64,
        footer: ArrowReaderMetadata,
    ) -> Result<Self, Error> {
        counted(location, records, &footer)?;
        footer::require_field_ids(location, footer.schema().fields())?;
        Ok(Self {
            location: location.to_owned(),
            size,
            footer,
            kept: Arc::default(),
        })
    }

    /// Whether a file of so many bytes is fetched whole.
    pub(crate) fn is_small(bytes: u64) -> bool {
        bytes < WHOLE_BYTES_MAX
    }

    pub(crate) fn small(&self) -> bool {
        Self::is_small(self.size)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes kept since it was opened.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.lock().as_ref().map_or(0, |whole| whole.len() as u64)
    }

    /// Keeps them no longer.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    /// All of a small file, kept or fetched again; `None` for a large one.
    pub(crate) async fn whole(&self, storage: &Storage) -> Result<Option<Bytes>, Error> {
        let kept = self.lock().clone();
        match kept {
            Some(whole) => Ok(Some(whole)),
            None if self.small() => read_whole(storage, &self.location).await.map(Some),
            None => Ok(None),
        }
    }

    /// Rows of each row group.
    pub(crate) fn group_rows(&self) -> Vec<u64> {
        let groups = self.footer.metadata().row_groups().iter();
        groups.map(|group| group.num_rows() as u64).collect()
    }

    /// The chunks of top-level columns in `row_groups`.
    pub(crate) async fn fetch(
        &self,
        storage: &Storage,
        roots: &[usize],
        row_groups: &[usize],
    ) -> Result<Fetched, Error> {
        let ranges = self.ranges(roots, row_groups);
        let bytes = storage
            .read_ranges(&self.location, &ranges)
            .await
            .map_err(|source| Error::Storage {
                doing: "read columns of a data file",
                source,
            })?;
        let mut parts: Vec<_> = ranges.iter().map(|range| range.start).zip(bytes).collect();
        parts.sort_by_key(|(start, _)| *start);
        Ok(Fetched {
            size: self.size,
            parts,
        })
    }

    /// The chunks of some top-level columns in `row_groups`, from the kept bytes if there are any.
    pub(crate) async fn fetch_columns(
        &self,
        storage: &Storage,
        roots: &[usize],
        row_groups: &[usize],
    ) -> Result<Fetched, Error> {
        let kept = self.lock().clone();
        match kept {
            Some(whole) => Ok(Fetched::whole(whole)),
            None => self.fetch(storage, roots, row_groups).await,
        }
    }

    /// Compressed bytes of one top-level column in `row_groups`.
    pub(crate) fn column_bytes(&self, root: usize, row_groups: &[usize]) -> u64 {
        self.ranges(&[root], row_groups)
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    fn ranges(&self, roots: &[usize], row_groups: &[usize]) -> Vec<Range<u64>> {
        let footer = self.footer.metadata();
        let schema = footer.file_metadata().schema_descr();
        let leaves: Vec<_> = (0..schema.num_columns())
            .filter(|leaf| roots.contains(&schema.get_column_root_idx(*leaf)))
            .collect();
        let chunk = |group: usize, leaf: usize| {
            let (start, length) = footer.row_group(group).column(leaf).byte_range();
            start..start + length
        };
        row_groups
            .iter()
            .flat_map(|group| leaves.iter().map(move |leaf| chunk(*group, *leaf)))
            .collect()
    }
}

async fn read_whole(storage: &Storage, location: &str) -> Result<Bytes, Error> {
    storage
        .read_at_most(location, WHOLE_BYTES_MAX)
        .await
        .map_err(|source| Error::Storage {
            doing: "read a data file",
            source,
        })
}

/// Refuses a file that does not have `records` rows by its footer and by its row groups.
pub(crate) fn counted(
    location: &str,
    records: u64,
    footer: &ArrowReaderMetadata,
) -> Result<(), Error> {
    let said = footer.metadata().file_metadata().num_rows();
    let groups = footer.metadata().row_groups().iter();
    match miscounted(records, said, groups.map(RowGroupMetaData::num_rows)) {
        None => Ok(()),
        Some(why) => Err(Error::BadFile {
            location: location.to_owned(),
            why,
        }),
    }
}

/// How the rows of a file's manifest, of its footer and of its row groups differ: rows beyond what
/// was counted would never be read.
fn miscounted(records: u64, footer: i64, groups: impl Iterator<Item = i64>) -> Option<String> {
    if u64::try_from(footer).ok() != Some(records) {
        return Some(format!("it has {footer} rows, its manifest says {records}"));
    }
    let in_groups: Option<u128> = groups.map(|rows| u128::try_from(rows).ok()).sum();
    (in_groups != Some(u128::from(records)))
        .then(|| format!("it has {footer} rows, which its row groups do not add up to"))
}

/// The parts of a file that were fetched; reading anything else is an error.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    size: u64,
    /// Where each part starts, ascending.
    parts: Vec<(u64, Bytes)>,
}

impl Fetched {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            size: bytes.len() as u64,
            parts: vec![(0, bytes)],
        }
    }

    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.parts.partition_point(|(part, _)| *part <= start);
        let found = after.checked_sub(1).map(|index| &self.parts[index]);
        match found {
            Some((part, bytes)) if start - part <= bytes.len() as u64 => {
                Ok(bytes.slice((start - part) as usize..))
            }
            _ => Err(ParquetError::EOF(format!("byte {start} was not fetched"))),
        }
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Fetched {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} were asked for, {} were fetched",
                bytes.len()
            )));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_counts_differ_is_not_read() {
        let differ = |footer, groups: &[i64]| miscounted(10, footer, groups.iter().copied());
        assert_eq!(differ(10, &[4, 6]), None);
        for (footer, groups) in [
            (9, [4, 5]),
            (10, [4, 7]),
            (10, [4, 5]),
            (10, [11, -1]),
            (-10, [4, 6]),
        ] {
            assert!(differ(footer, &groups).is_some(), "{footer} {groups:?}");
        }
        assert_eq!(miscounted(0, 0, std::iter::empty()), None);
    }

    #[test]
    fn only_what_was_fetched_can_be_read() {
        let fetched = Fetched {
            size: 100,
            parts: vec![
                (10, Bytes::from_static(b"abcd")),
                (50, Bytes::from_static(b"wxyz")),
            ],
        };
        assert_eq!(fetched.get_bytes(11, 2).unwrap(), "bc");
        assert_eq!(fetched.get_bytes(50, 4).unwrap(), "wxyz");
        for (start, length) in [(9, 1), (13, 2), (20, 1), (53, 2)] {
            assert!(
                fetched.get_bytes(start, length).is_err(),
                "{start} {length}"
            );
        }
    }
}
