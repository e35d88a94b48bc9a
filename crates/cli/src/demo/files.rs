//! The writer's own files: small Parquet data files and position deletes of one data file each.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use catalog::Table;
use metadata::{Content, DataFile, Literal};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use super::event::{self, COLUMNS, Event};

/// The columns of a position delete file, with the ids the table format reserves for them.
const FILE_PATH_ID: i32 = 2_147_483_546;
const POS_ID: i32 = 2_147_483_545;

/// The rows as one Parquet file.
pub(crate) fn encode(events: &[Event]) -> Result<Bytes> {
    let columns = event::columns(events);
    let fields = (1..).zip(COLUMNS).zip(&columns);
    let fields = fields.map(|((id, (name, _)), column)| field(id, name, column, name == "note"));
    parquet(fields.collect(), columns)
}

/// Writes a data file below the table's location and describes it.
pub(crate) async fn put(table: &Table, region: &str, bytes: Bytes, rows: u64) -> Result<DataFile> {
    store(table, region, Content::Data, bytes, rows).await
}

/// Writes a file that deletes rows of `data` by their positions (ascending).
pub(crate) async fn put_deletes(
    table: &Table,
    data: &DataFile,
    region: &str,
    positions: &[i64],
) -> Result<DataFile> {
    let paths = StringArray::from_iter_values(positions.iter().map(|_| &data.file_path));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(paths),
        Arc::new(Int64Array::from(positions.to_vec())),
    ];
    let fields = vec![
        field(FILE_PATH_ID, "file_path", &columns[0], false),
        field(POS_ID, "pos", &columns[1], false),
    ];
    let bytes = parquet(fields, columns)?;
    let mut file = store(
        table,
        region,
        Content::PositionDeletes,
        bytes,
        positions.len() as u64,
    )
    .await?;
    file.referenced_data_file = Some(data.file_path.clone());
    let path = data.file_path.clone().into_bytes();
    file.lower_bounds.insert(FILE_PATH_ID, path.clone());
    file.upper_bounds.insert(FILE_PATH_ID, path);
    Ok(file)
}

fn field(id: i32, name: &str, column: &ArrayRef, nullable: bool) -> Field {
    let data_type: DataType = column.data_type().clone();
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, data_type, nullable).with_metadata(id)
}

fn parquet(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Result<Bytes> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(Bytes::from(writer.into_inner()?))
}

async fn store(
    table: &Table,
    region: &str,
    content: Content,
    bytes: Bytes,
    rows: u64,
) -> Result<DataFile> {
    let ending = if content == Content::Data {
        ""
    } else {
        "-deletes"
    };
    let location = table.metadata.location();
    let path = format!(
        "{location}/data/region={region}/{}{ending}.parquet",
        Uuid::new_v4()
    );
    let mut file = DataFile::new(content, path.clone());
    file.spec_id = table.metadata.default_spec().spec_id;
    file.partition = vec![Some(Literal::String(region.to_owned()))];
    file.record_count = rows;
    file.file_size_in_bytes = bytes.len() as u64;
    table.storage.write_new(&path, bytes).await?;
    Ok(file)
}
