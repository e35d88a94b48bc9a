//! What the output wants of one column's chunk.

use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnDescPtr;

use super::value::Kind;

/// Pages on average below these shares of what the table asks for, both, are tiny: a table must
/// not be left with thousands of them. One that is so many times as large as asked is huge.
const TINY_ROWS_SHARE: u64 = 4;
const TINY_BYTES_SHARE: u64 = 16;
const HUGE_TIMES: usize = 8;

/// A flat column of an output.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(super) column: ColumnDescPtr,
    pub(super) kind: Kind,
    pub(super) codec: Compression,
    pub(super) page_rows: usize,
    pub(super) page_bytes: usize,
    /// Of a dictionary at most.
    pub(super) dictionary_bytes: usize,
    pub(super) bloom_filter: bool,
    /// What bounds are cut to, in a chunk's statistics and in its column index.
    pub(super) statistics_bytes: Option<usize>,
    pub(super) index_bytes: Option<usize>,
}

impl Wanted {
    /// `None`: the column is below another, or repeats.
    pub(crate) fn new(column: &ColumnDescPtr, properties: &WriterProperties) -> Option<Self> {
        let path = column.path();
        let flat = column.max_def_level() <= 1 && column.max_rep_level() == 0;
        if !flat || path.parts().len() > 1 {
            return None;
        }
        Some(Self {
            kind: Kind::of(column)?,
            codec: properties.compression(path),
            page_rows: properties.column_data_page_row_count_limit(path),
            page_bytes: properties.column_data_page_size_limit(path),
            // A page's length is a signed 32-bit integer.
            dictionary_bytes: properties
                .column_dictionary_page_size_limit(path)
                .min(i32::MAX as usize),
            bloom_filter: properties.bloom_filter_properties(path).is_some(),
            statistics_bytes: properties.statistics_truncate_length(),
            index_bytes: properties.column_index_truncate_length(),
            column: column.clone(),
        })
    }

    pub(super) fn nullable(&self) -> bool {
        self.column.max_def_level() > 0
    }

    pub(super) fn tiny(&self, pages: &Pages) -> bool {
        let count = pages.count.max(1);
        pages.rows / count < self.page_rows as u64 / TINY_ROWS_SHARE
            && pages.bytes / count < self.page_bytes as u64 / TINY_BYTES_SHARE
    }

    /// Rows of the largest page that is not huge.
    pub(super) fn page_rows_max(&self) -> usize {
        self.page_rows.saturating_mul(HUGE_TIMES)
    }

    pub(super) fn huge(&self, pages: &Pages) -> bool {
        let bytes_max = self.page_bytes.saturating_mul(HUGE_TIMES) as u64;
        pages.rows_max > self.page_rows_max() as u64 || pages.bytes_max > bytes_max
    }
}

/// Some pages of data, as their headers describe them; bytes are those unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) count: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) rows_max: u64,
    pub(super) bytes_max: u64,
}

impl Pages {
    pub(super) fn add(&mut self, rows: u64, bytes: u64) {
        self.count += 1;
        self.rows += rows;
        self.bytes += bytes;
        self.rows_max = self.rows_max.max(rows);
        self.bytes_max = self.bytes_max.max(bytes);
    }
}
