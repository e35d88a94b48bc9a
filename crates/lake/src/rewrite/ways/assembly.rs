//! A column chunk put together page by page, with the statistics and indexes that the library's
//! writer would give it.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Encoding, EncodingMask, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

use super::Odd;
use super::statistics::{Cut, statistics};
use super::value::Seen;
use super::wanted::Wanted;

/// A chunk that is ready to be appended to a row group.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) bytes: Bytes,
    pub(crate) closed: ColumnCloseResult,
}

/// What is known of a page of data.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) seen: Seen,
}

/// A chunk in the making.
pub(super) struct Assembly<'a> {
    wanted: &'a Wanted,
    sink: TrackedWrite<Vec<u8>>,
    dictionary: bool,
    /// Where the first page of data is.
    data_at: Option<u64>,
    unpacked_bytes: u64,
    encodings: BTreeSet<Encoding>,
    pages: Vec<PageEncodingStats>,
    places: OffsetIndexBuilder,
    index: Index,
    /// Of all pages so far.
    rows: u64,
    nulls: u64,
    seen: Seen,
}

impl<'a> Assembly<'a> {
    /// It will have about so many bytes.
    pub(super) fn new(wanted: &'a Wanted, bytes: usize) -> Self {
        Self {
            wanted,
            sink: TrackedWrite::new(Vec::with_capacity(bytes)),
            dictionary: false,
            data_at: None,
            unpacked_bytes: 0,
            encodings: BTreeSet::from([Encoding::RLE]),
            pages: Vec::new(),
            places: OffsetIndexBuilder::new(),
            index: Index::new(wanted),
            rows: 0,
            nulls: 0,
            seen: Seen::default(),
        }
    }

    /// Begins with a dictionary.
    pub(super) fn dictionary(
        &mut self,
        bytes: Bytes,
        count: usize,
        unpacked: usize,
    ) -> Result<(), Odd> {
        let page = Page::DictionaryPage {
            buf: bytes,
            num_values: u32::try_from(count).map_err(|_| "a dictionary is too large")?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.dictionary = true;
        self.write(page, unpacked).map(drop)
    }

    /// Adds a page of data with its bytes as the file will have them.
    pub(super) fn data(&mut self, page: Page, unpacked: usize, told: Told) -> Result<(), Odd> {
        let spec = self.write(page, unpacked)?;
        self.data_at.get_or_insert(spec.offset);
        self.places.append_row_count(told.rows as i64);
        let size = i32::try_from(spec.compressed_size).map_err(|_| "a page is too large")?;
        self.places.append_offset_and_size(spec.offset as i64, size);
        let variable = self.wanted.kind.variable();
        let variable = variable.then_some(told.seen.variable_bytes as i64);
        self.places.append_unencoded_byte_array_data_bytes(variable);
        self.rows += told.rows as u64;
        self.nulls += told.nulls as u64;
        self.seen.merge(self.wanted.kind, &told.seen);
        self.index.add(self.wanted, told)
    }

    fn write(&mut self, page: Page, unpacked: usize) -> Result<PageWriteSpec, Odd> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        self.encodings.insert(encoding);
        match self.pages.last_mut() {
            Some(last) if last.page_type == page_type && last.encoding == encoding => {
                last.count += 1;
            }
            _ => self.pages.push(PageEncodingStats {
                page_type,
                encoding,
                count: 1,
            }),
        }
        debug_assert_eq!(
            page_type == PageType::DICTIONARY_PAGE,
            self.dictionary && self.pages.len() == 1 && self.data_at.is_none()
        );
        let page = CompressedPage::new(page, unpacked);
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.unpacked_bytes += spec.uncompressed_size as u64;
        Ok(spec)
    }

    /// The chunk, which must have as many rows.
    pub(super) fn finish(mut self, rows: u64) -> Result<Assembled, Odd> {
        let written = self.rows;
        if written != rows {
            return Err(format!("its pages have {written} rows, {rows} were due").into());
        }
        let column = &self.wanted.column;
        let histogram = levels(self.wanted, rows, self.nulls);
        let bytes = Bytes::from(std::mem::take(self.sink_bytes()?));
        let variable = self.wanted.kind.variable();
        let variable = variable.then_some(self.seen.variable_bytes as i64);
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(self.wanted.codec)
            .set_encodings_mask(EncodingMask::new_from_encodings(self.encodings.iter()))
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.unpacked_bytes as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(self.data_at.unwrap_or(0) as i64)
            .set_dictionary_page_offset(self.dictionary.then_some(0))
            .set_statistics(statistics(self.wanted, self.seen, self.nulls))
            .set_unencoded_byte_array_data_bytes(variable)
            .set_definition_level_histogram(histogram)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata,
            bloom_filter: None,
            column_index: Some(self.index.build()?),
            offset_index: Some(self.places.build()),
        };
        Ok(Assembled { bytes, closed })
    }

    fn sink_bytes(&mut self) -> Result<&mut Vec<u8>, Odd> {
        use std::io::Write as _;
        self.sink
            .flush()
            .map_err(|error| Odd::from(error.to_string()))?;
        Ok(self.sink.inner_mut())
    }
}

/// How many rows have no value, and how many have one.
fn levels(wanted: &Wanted, rows: u64, nulls: u64) -> Option<LevelHistogram> {
    let mut histogram = LevelHistogram::try_new(wanted.column.max_def_level())?;
    histogram.increment_by(0, nulls as i64);
    histogram.increment_by(1, (rows - nulls) as i64);
    Some(histogram)
}

/// A column index in the making. Of bounds it keeps what the file will have: those of the values
/// themselves, which may be long, are kept of the last page only.
struct Index {
    pages: ColumnIndexBuilder,
    last: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether a bound was ever greater, or less, than the one before.
    grown: bool,
    fallen: bool,
}

impl Index {
    fn new(wanted: &Wanted) -> Self {
        Self {
            pages: ColumnIndexBuilder::new(wanted.column.physical_type()),
            last: None,
            grown: false,
            fallen: false,
        }
    }

    fn add(&mut self, wanted: &Wanted, page: Told) -> Result<(), Odd> {
        let nans = wanted.kind.floating().then_some(page.seen.nans as i64);
        let nulls = page.nulls as i64;
        match page.seen.bounds {
            _ if page.nulls == page.rows => {
                self.pages.append(true, Vec::new(), Vec::new(), nulls, nans);
            }
            None => return Err("a page has values and no bounds".into()),
            Some((min, max)) => {
                self.order(wanted, &min, &max);
                let cut = Cut {
                    kind: wanted.kind,
                    length: wanted.index_bytes,
                };
                let last = (min.clone(), max.clone());
                let (min, max) = (cut.min(min).0, cut.max(max).0);
                self.pages.append(false, min, max, nulls, nans);
                self.last = Some(last);
            }
        }
        let levels = levels(wanted, page.rows as u64, page.nulls as u64);
        self.pages.append_histograms(&None, &levels);
        Ok(())
    }

    fn order(&mut self, wanted: &Wanted, min: &[u8], max: &[u8]) {
        if let Some((last_min, last_max)) = &self.last {
            let orders = [
                wanted.kind.order(last_min, min),
                wanted.kind.order(last_max, max),
            ];
            self.grown |= orders.contains(&Ordering::Less);
            self.fallen |= orders.contains(&Ordering::Greater);
        }
    }

    fn build(mut self) -> Result<ColumnIndexMetaData, Odd> {
        self.pages
            .set_boundary_order(match (self.grown, self.fallen) {
                (_, false) => BoundaryOrder::ASCENDING,
                (false, true) => BoundaryOrder::DESCENDING,
                (true, true) => BoundaryOrder::UNORDERED,
            });
        Ok(self.pages.build()?)
    }
}
