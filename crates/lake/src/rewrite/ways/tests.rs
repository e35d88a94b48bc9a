//! Every way against a transcode of the same inputs: the same values, the same statistics, indexes
//! that are right page by page.

mod columns;
mod damaged;
mod forced;
mod random;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow_array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use metadata::{Field, Primitive, Schema, StructType, Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use tokio_util::sync::CancellationToken;

use super::super::column::{ColumnTask, Made, Part, PartContent, produce};
use super::super::layout::Selected;
use super::*;
use crate::files::footer::parse;
use crate::files::output::column_writers;
use crate::files::schema::WriteSchema;
use crate::files::shape::Shape;
use crate::files::sound::pages;
use crate::files::source::Fetched;

const PLACE: &str = "/t/in.parquet";
/// More than any of these inputs has.
const ROWS_MAX: usize = 1 << 20;

/// A table of one column.
struct Table {
    schema: WriteSchema,
    output: Arc<WriterProperties>,
}

/// Small pages, so that some thousand rows have many.
fn small_pages() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_data_page_row_count_limit(100)
        .set_data_page_size_limit(4_000)
        .set_write_batch_size(20)
        .set_dictionary_page_size_limit(2_000)
        .set_statistics_truncate_length(Some(16))
        .set_column_index_truncate_length(Some(8))
}

impl Table {
    fn new(ty: &Primitive, required: bool, output: WriterPropertiesBuilder) -> Self {
        let field = Field::new(1, "a", required, Type::Primitive(ty.clone()));
        let schema = Schema {
            schema_id: 0,
            root: StructType {
                fields: vec![field],
            },
            identifier_field_ids: Vec::new(),
        };
        Self {
            schema: WriteSchema::new(&Arc::new(schema)).unwrap(),
            output: Arc::new(output.build()),
        }
    }

    /// An input with these rows.
    fn input(&self, rows: &ArrayRef, properties: WriterPropertiesBuilder) -> Bytes {
        let schema = self.schema.arrow.clone();
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::clone(rows)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, schema, Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    fn task(&self, inputs: &[Bytes], cheap: bool) -> ColumnTask {
        let parts: Vec<Part> = inputs.iter().map(part).collect();
        let writers = column_writers(&self.schema, &self.output).unwrap();
        let leaves = SchemaDescriptor::new(self.schema.parquet.clone());
        ColumnTask {
            field: Arc::clone(&self.schema.arrow.fields()[0]),
            writers: writers.create_column_writers(0).unwrap(),
            wanted: if cheap {
                Some(Wanted::new(&leaves.column(0), &self.output).unwrap())
            } else {
                None
            },
            rows: parts.iter().map(|part| part.rows).sum(),
            parts,
            done: Arc::new(AtomicU64::new(0)),
            stop: CancellationToken::new(),
        }
    }

    /// A file with one row group.
    fn file(&self, made: Made) -> Bytes {
        let mut writer =
            SerializedFileWriter::new(Vec::new(), self.schema.parquet.clone(), self.output.clone())
                .unwrap();
        let mut group = writer.next_row_group().unwrap();
        for chunk in made.chunks {
            chunk.append_to(&mut group).unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }

    /// Makes the column in the cheapest way and by a transcode, and compares all there is.
    fn check(&self, inputs: &[Bytes]) -> Way {
        let transcoded = produce(self.task(inputs, false)).unwrap();
        assert_eq!(transcoded.way, Way::Transcode(Reason::Nested));
        let transcoded = self.file(transcoded);
        let made = produce(self.task(inputs, true)).unwrap();
        let way = made.way.clone();
        let made = self.file(made);
        let (footer, other) = (metadata(&made), metadata(&transcoded));
        sound(&made);
        let rows = read(&made, None);
        assert_eq!(&rows, &read(&transcoded, None), "{way}");
        // Every other run of 37 rows: found by the offset index.
        let skipped = |file| read(file, Some((37, rows.len())));
        assert_eq!(&skipped(&made), &skipped(&transcoded), "{way}");
        alike(&footer, &other, &way);
        if !matches!(way, Way::Transcode(_)) {
            self.check_pages(&footer, &rows, &way);
        }
        way
    }

    /// Each page's entries are those the library gives a chunk of that page's rows alone.
    fn check_pages(&self, footer: &ParquetMetaData, rows: &ArrayRef, way: &Way) {
        let index = footer.page_index_for_row_group(0);
        let (bounds, places) = (
            index.column_index(0).unwrap(),
            index.offset_index(0).unwrap(),
        );
        let starts = places.page_locations().iter();
        let mut starts: Vec<usize> = starts.map(|page| page.first_row_index as usize).collect();
        assert_eq!(bounds.num_pages() as usize, starts.len());
        starts.push(rows.len());
        let lone = || {
            let lone = small_pages().set_dictionary_enabled(false);
            let lone = lone.set_data_page_row_count_limit(ROWS_MAX);
            lone.set_data_page_size_limit(1 << 30)
        };
        for (at, ends) in starts.windows(2).enumerate() {
            let page = rows.slice(ends[0], ends[1] - ends[0]);
            let alone = metadata(&self.input(&page, lone()));
            let alone = alone.page_index_for_row_group(0);
            let (want, place) = (
                alone.column_index(0).unwrap(),
                alone.offset_index(0).unwrap(),
            );
            let context = format!("{way}, page {at}");
            assert_eq!(want.num_pages(), 1);
            assert_eq!(bounds.null_count(at), want.null_count(0), "{context}");
            assert_eq!(bounds.nan_count(at), want.nan_count(0), "{context}");
            assert_eq!(bounds.is_null_page(at), want.is_null_page(0), "{context}");
            let levels = bounds.definition_level_histogram(at);
            assert_eq!(levels, want.definition_level_histogram(0), "{context}");
            assert_eq!(of_page(bounds, at), of_page(want, 0), "{context}");
            let variable =
                |places: &parquet::file::page_index::offset_index::OffsetIndexMetaData,
                 at: usize| {
                    let bytes = places.unencoded_byte_array_data_bytes();
                    bytes.map(|bytes| bytes[at])
                };
            assert_eq!(variable(places, at), variable(place, 0), "{context}");
        }
    }
}

/// The bounds of one page, as text.
fn of_page(
    index: &parquet::file::page_index::column_index::ColumnIndexMetaData,
    at: usize,
) -> String {
    use parquet::file::page_index::column_index::ColumnIndexMetaData as Index;
    macro_rules! bounds {
        ($index:expr) => {
            format!("{:?} {:?}", $index.min_value(at), $index.max_value(at))
        };
    }
    match index {
        Index::BOOLEAN(index) => bounds!(index),
        Index::INT32(index) => bounds!(index),
        Index::INT64(index) => bounds!(index),
        Index::INT96(index) => bounds!(index),
        Index::FLOAT(index) => bounds!(index),
        Index::DOUBLE(index) => bounds!(index),
        Index::BYTE_ARRAY(index) | Index::FIXED_LEN_BYTE_ARRAY(index) => bounds!(index),
    }
}

/// What a chunk says of its values, whatever its pages are.
fn alike(one: &ParquetMetaData, two: &ParquetMetaData, way: &Way) {
    let (one, two) = (one.row_group(0).column(0), two.row_group(0).column(0));
    // NaN is not equal to itself.
    let text = |chunk: &parquet::file::metadata::ColumnChunkMetaData| {
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            chunk.statistics(),
            chunk.num_values(),
            chunk.definition_level_histogram(),
            chunk.unencoded_byte_array_data_bytes(),
            std::mem::discriminant(&chunk.compression()),
        )
    };
    assert_eq!(text(one), text(two), "{way}");
}

fn metadata(file: &Bytes) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(file).unwrap()
}

fn sound(file: &Bytes) {
    let footer = parse(PLACE, file).unwrap();
    pages(PLACE, file, footer.metadata(), &[0], &[0]).unwrap();
}

/// All rows, or every other run of so many.
fn read(file: &Bytes, runs: Option<(usize, usize)>) -> ArrayRef {
    let schema = Arc::clone(parse(PLACE, file).unwrap().schema());
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let options = options.with_schema(schema);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options);
    let mut reader = reader.unwrap();
    if let Some((run, rows)) = runs {
        let selectors = (0..rows).step_by(run).enumerate().map(|(number, start)| {
            let count = run.min(rows - start);
            if number % 2 == 0 {
                RowSelector::skip(count)
            } else {
                RowSelector::select(count)
            }
        });
        reader = reader.with_row_selection(RowSelection::from(selectors.collect::<Vec<_>>()));
    }
    let ty = reader.schema().field(0).data_type().clone();
    let mut batches = reader.with_batch_size(ROWS_MAX).build().unwrap();
    let column = batches
        .next()
        .map(|batch| Arc::clone(batch.unwrap().column(0)));
    assert!(batches.next().is_none());
    column.unwrap_or_else(|| arrow_array::new_empty_array(&ty))
}

/// All of an input.
fn part(input: &Bytes) -> Part {
    let footer = parse(PLACE, input).unwrap();
    let groups = footer.metadata().row_groups();
    Part {
        location: PLACE.into(),
        rows: groups.iter().map(|group| group.num_rows() as u64).sum(),
        content: PartContent::Column {
            fetched: Fetched::whole(input.clone()),
            root: 0,
            shape: Shape::Same,
            selected: Arc::new(Selected {
                row_groups: (0..groups.len()).collect(),
                selection: None,
            }),
            footer,
        },
    }
}
