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
    told: Vec<Told>,
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
            told: Vec::new(),
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
        self.told.push(told);
        Ok(())
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
        let written = self.told.iter().map(|told| told.rows as u64).sum::<u64>();
        if written != rows {
            return Err(format!("its pages have {written} rows, {rows} were due").into());
        }
        let (kind, column) = (self.wanted.kind, &self.wanted.column);
        let mut whole = Seen::default();
        let mut histogram = LevelHistogram::try_new(column.max_def_level());
        let mut nulls = 0;
        for told in &self.told {
            whole.merge(kind, &told.seen);
            nulls += told.nulls as u64;
            if let (Some(whole), Some(page)) = (&mut histogram, levels(self.wanted, told)) {
                whole.add(&page);
            }
        }
        let column_index = column_index(self.wanted, &self.told)?;
        let bytes = Bytes::from(std::mem::take(self.sink_bytes()?));
        let variable = kind.variable().then_some(whole.variable_bytes as i64);
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(self.wanted.codec)
            .set_encodings_mask(EncodingMask::new_from_encodings(self.encodings.iter()))
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.unpacked_bytes as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(self.data_at.unwrap_or(0) as i64)
            .set_dictionary_page_offset(self.dictionary.then_some(0))
            .set_statistics(statistics(self.wanted, whole, nulls))
            .set_unencoded_byte_array_data_bytes(variable)
            .set_definition_level_histogram(histogram)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata,
            bloom_filter: None,
            column_index,
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

/// How many rows of a page have no value, and how many have one.
fn levels(wanted: &Wanted, told: &Told) -> Option<LevelHistogram> {
    let mut histogram = LevelHistogram::try_new(wanted.column.max_def_level())?;
    histogram.increment_by(0, told.nulls as i64);
    histogram.increment_by(1, (told.rows - told.nulls) as i64);
    Some(histogram)
}

fn column_index(
    wanted: &Wanted,
    pages: &[Told],
) -> Result<Option<parquet::file::page_index::column_index::ColumnIndexMetaData>, Odd> {
    let kind = wanted.kind;
    let mut index = ColumnIndexBuilder::new(wanted.column.physical_type());
    let cut = Cut {
        kind,
        length: wanted.index_bytes,
    };
    let mut order = Order::default();
    for page in pages {
        let nans = kind.floating().then_some(page.seen.nans as i64);
        let (nulls, empty) = (page.nulls as i64, page.nulls == page.rows);
        match &page.seen.bounds {
            _ if empty => index.append(true, Vec::new(), Vec::new(), nulls, nans),
            None => return Err("a page has values and no bounds".into()),
            Some((min, max)) => {
                order.add(wanted, min, max);
                let (min, max) = (cut.min(min.clone()).0, cut.max(max.clone()).0);
                index.append(false, min, max, nulls, nans);
            }
        }
        index.append_histograms(&None, &levels(wanted, page));
    }
    index.set_boundary_order(order.found());
    Ok(Some(index.build()?))
}

/// Whether the bounds of pages only grow, or only fall.
#[derive(Default)]
struct Order<'a> {
    last: Option<(&'a [u8], &'a [u8])>,
    grown: bool,
    fallen: bool,
}

impl<'a> Order<'a> {
    fn add(&mut self, wanted: &Wanted, min: &'a [u8], max: &'a [u8]) {
        if let Some((last_min, last_max)) = self.last {
            let orders = [
                wanted.kind.order(last_min, min),
                wanted.kind.order(last_max, max),
            ];
            self.grown |= orders.contains(&Ordering::Less);
            self.fallen |= orders.contains(&Ordering::Greater);
        }
        self.last = Some((min, max));
    }

    fn found(&self) -> BoundaryOrder {
        match (self.grown, self.fallen) {
            (_, false) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (true, true) => BoundaryOrder::UNORDERED,
        }
    }
}
