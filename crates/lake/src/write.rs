//! Plain writing: data files and position delete files from Arrow batches.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::SchemaRef;
use catalog::Table;
use metadata::{Content, DataFile, Field, Literal, Primitive, Schema, StructType, Type};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::Error;
use crate::deletes::{FILE_PATH_ID, POSITION_ID};
use crate::files::output::{OutputFile, column_writers};
use crate::files::place::Places;
use crate::files::properties::{MetricsMode, WriteSettings};
use crate::files::schema::WriteSchema;

/// The Arrow form of a table's schema, which batches given to [`FileWriter::data_file`] must have.
pub fn arrow_schema(schema: &Arc<Schema>) -> Result<SchemaRef, Error> {
    WriteSchema::new(schema).map(|schema| schema.arrow)
}

/// The schema of position delete files (specification, "Position Delete Files").
pub fn delete_schema() -> Schema {
    let field = |id, name: &str, ty| Field::new(id, name, true, Type::Primitive(ty));
    let fields = vec![
        field(FILE_PATH_ID, "file_path", Primitive::String),
        field(POSITION_ID, "pos", Primitive::Long),
    ];
    Schema {
        schema_id: 0,
        root: StructType { fields },
        identifier_field_ids: Vec::new(),
    }
}

/// Writes files of one table under its current schema and default spec, one row group each.
/// Nothing written is part of the table until it is committed.
#[derive(Debug)]
pub struct FileWriter {
    table: Table,
    places: Places,
    data: Kind,
    deletes: Kind,
}

/// How one kind of file is written.
#[derive(Debug)]
struct Kind {
    schema: WriteSchema,
    properties: Arc<WriterProperties>,
    metrics: Vec<MetricsMode>,
}

impl FileWriter {
    /// `owner` is part of every file's name.
    pub fn new(table: &Table, owner: &str) -> Result<Self, Error> {
        let schema = WriteSchema::new(table.metadata.current_schema())?;
        let settings = WriteSettings::new(&table.metadata, &schema)?;
        let data = Kind {
            schema,
            properties: Arc::new(settings.writer),
            metrics: settings.metrics,
        };
        let schema = WriteSchema::new(&Arc::new(delete_schema()))?;
        // Whole paths as bounds: equal ones say that a delete file concerns one data file only.
        let properties = WriteSettings::new(&table.metadata, &schema)?
            .writer
            .into_builder();
        let properties = Arc::new(properties.set_statistics_truncate_length(None).build());
        let metrics = vec![MetricsMode::Full; schema.leaves.len()];
        let deletes = Kind {
            schema,
            properties,
            metrics,
        };
        Ok(Self {
            table: table.clone(),
            places: Places::new(&table.metadata, owner),
            data,
            deletes,
        })
    }

    /// Writes `batches` as one data file of `partition`.
    pub async fn data_file(
        &self,
        partition: Vec<Option<Literal>>,
        batches: &[RecordBatch],
    ) -> Result<DataFile, Error> {
        self.write(&self.data, Content::Data, partition, batches)
            .await
    }

    /// Writes the positions deleted in data files of `partition` as one delete file.
    pub async fn position_deletes(
        &self,
        partition: Vec<Option<Literal>>,
        mut deletes: Vec<(String, i64)>,
    ) -> Result<DataFile, Error> {
        deletes.sort_unstable();
        let paths = StringViewArray::from_iter_values(deletes.iter().map(|(path, _)| path));
        let rows = Int64Array::from_iter_values(deletes.iter().map(|(_, row)| *row));
        let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(rows)];
        let batch =
            RecordBatch::try_new(self.deletes.schema.arrow.clone(), columns).map_err(|source| {
                Error::Arrow {
                    doing: "build position deletes",
                    source,
                }
            })?;
        let mut file = self
            .write(&self.deletes, Content::PositionDeletes, partition, &[batch])
            .await?;
        let (first, last) = (deletes.first(), deletes.last());
        if let (Some((first, _)), Some((last, _))) = (first, last)
            && first == last
        {
            file.referenced_data_file = Some(first.clone());
        }
        Ok(file)
    }

    async fn write(
        &self,
        kind: &Kind,
        content: Content,
        partition: Vec<Option<Literal>>,
        batches: &[RecordBatch],
    ) -> Result<DataFile, Error> {
        let spec = self.table.metadata.default_spec();
        let suffix = if content == Content::Data {
            ""
        } else {
            "-deletes"
        };
        let location = self.places.data_file(&spec.path(&partition), suffix);
        let chunks = encode(kind, batches).map_err(|source| Error::Parquet {
            doing: "encode",
            location: location.clone(),
            source,
        })?;
        let mut output = OutputFile::create(
            &self.table.storage,
            location,
            &kind.schema,
            &kind.properties,
        )
        .await?;
        output.append(chunks).await?;
        output
            .finish(
                content,
                &kind.schema,
                &kind.metrics,
                (spec.spec_id, partition),
            )
            .await
    }
}

fn encode(kind: &Kind, batches: &[RecordBatch]) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let writers = column_writers(&kind.schema, &kind.properties)
        .map_err(|error| ParquetError::External(Box::new(error)))?;
    let mut writers = writers.create_column_writers(0)?;
    for batch in batches {
        if batch.schema().fields().len() != kind.schema.arrow.fields().len() {
            return Err(ParquetError::General(
                "a batch does not have the table's columns".to_owned(),
            ));
        }
        let mut writers = writers.iter_mut();
        for (field, column) in kind.schema.arrow.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column)? {
                let writer = writers.next();
                writer
                    .expect("a column has as many leaves as its field")
                    .write(&leaf)?;
            }
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}
