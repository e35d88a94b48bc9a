//! Plain writing: data files, position and equality delete files from Arrow batches.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};
use catalog::Table;
use metadata::{
    Content, DataFile, Field, Literal, PartitionSpec, Primitive, Schema, StructType, Type,
};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::Error;
use crate::deletes::{FILE_PATH_ID, POSITION_ID};
use crate::files::output::{Chunk, OutputFile, column_writers};
use crate::files::place::Places;
use crate::files::properties::{MetricsMode, WriteSettings};
use crate::files::schema::WriteSchema;

/// Rows of a position delete file that are made into columns at once.
const POSITIONS_AT_ONCE: usize = 64 * 1024;

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

/// The part of a schema that holds the fields `ids` (none below a list or map): what batches
/// given to [`FileWriter::equality_deletes`] must have, in Arrow's form ([`arrow_schema`]).
pub fn key_schema(schema: &Schema, ids: &[i32]) -> Schema {
    Schema {
        schema_id: 0,
        root: StructType {
            fields: keys_of(&schema.root.fields, ids),
        },
        identifier_field_ids: Vec::new(),
    }
}

fn keys_of(fields: &[Field], ids: &[i32]) -> Vec<Field> {
    let key = |field: &Field| {
        if ids.contains(&field.id) {
            return Some(field.clone());
        }
        let Type::Struct(inner) = &field.ty else {
            return None;
        };
        let fields = keys_of(&inner.fields, ids);
        let mut field = field.clone();
        field.ty = Type::Struct(StructType { fields });
        (!field.ty.children().is_empty()).then_some(field)
    };
    fields.iter().filter_map(key).collect()
}

/// Writes files of one table under its current schema and default spec, one row group each.
/// Nothing written is part of the table until it is committed.
#[derive(Debug)]
pub struct FileWriter {
    table: Table,
    spec: Arc<PartitionSpec>,
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
            spec: table.metadata.default_spec().clone(),
            places: Places::new(&table.metadata, owner),
            data,
            deletes,
        })
    }

    /// Writes under another spec of the table. Equality deletes under one without fields are
    /// global: they delete in every partition of every spec.
    pub fn with_spec(mut self, spec_id: i32) -> Result<Self, Error> {
        let spec = self.table.metadata.spec(spec_id);
        self.spec = spec
            .ok_or_else(|| Error::Refused(format!("the table has no spec {spec_id}")))?
            .clone();
        Ok(self)
    }

    /// Writes data files as another writer would leave them: `how` changes what the table's
    /// properties ask for.
    #[must_use]
    pub fn encoded(
        mut self,
        how: impl FnOnce(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
    ) -> Self {
        let asked = WriterProperties::clone(&self.data.properties).into_builder();
        self.data.properties = Arc::new(how(asked).build());
        self
    }

    /// Writes `batches` as one data file of `partition`.
    pub async fn data_file(
        &self,
        partition: Vec<Option<Literal>>,
        batches: &[RecordBatch],
    ) -> Result<DataFile, Error> {
        let location = self.location(Content::Data, &partition);
        let chunks = encoded(&self.data, &location, batches.iter().cloned().map(Ok))?;
        let to = (Content::Data, location);
        self.write(&self.data, to, partition, chunks).await
    }

    /// Writes the positions deleted in data files of `partition` as one delete file.
    pub async fn position_deletes(
        &self,
        partition: Vec<Option<Literal>>,
        mut deletes: Vec<(String, i64)>,
    ) -> Result<DataFile, Error> {
        deletes.sort_unstable();
        let location = self.location(Content::PositionDeletes, &partition);
        let one = deletes.chunk_by(|a, b| a.0 == b.0).count() == 1;
        let of = deletes
            .first()
            .filter(|_| one)
            .map(|(path, _)| path.clone());
        let rows = deletes.iter().map(|(path, row)| (path.as_str(), *row));
        let chunks = self.encoded_positions(&location, rows)?;
        self.delete_positions((location, of), partition, chunks)
            .await
    }

    /// Likewise at a place the caller chose: of each data file its positions, all in order.
    pub(crate) async fn position_deletes_at(
        &self,
        location: String,
        partition: Vec<Option<Literal>>,
        runs: &[(&str, &[u64])],
    ) -> Result<DataFile, Error> {
        let of = match runs {
            [(path, _)] => Some((*path).to_owned()),
            _ => None,
        };
        // None was negative, so none is too large.
        let rows = runs.iter().flat_map(|(path, rows)| {
            let rows = rows.iter();
            rows.map(|row| (*path, i64::try_from(*row).unwrap_or(i64::MAX)))
        });
        let chunks = self.encoded_positions(&location, rows)?;
        self.delete_positions((location, of), partition, chunks)
            .await
    }

    fn encoded_positions<'a>(
        &self,
        location: &str,
        rows: impl Iterator<Item = (&'a str, i64)>,
    ) -> Result<Vec<Chunk>, Error> {
        let schema = self.deletes.schema.arrow.clone();
        encoded(&self.deletes, location, position_batches(schema, rows))
    }

    /// Writes a position delete file, of one data file when it says so.
    async fn delete_positions(
        &self,
        (location, of): (String, Option<String>),
        partition: Vec<Option<Literal>>,
        chunks: Vec<Chunk>,
    ) -> Result<DataFile, Error> {
        let to = (Content::PositionDeletes, location);
        let mut file = self.write(&self.deletes, to, partition, chunks).await?;
        file.referenced_data_file = of;
        Ok(file)
    }

    /// Writes keys as one equality delete file of `partition`: a row whose values of the fields
    /// `ids` equal one of them is deleted, null equal to null. The batches have the columns of
    /// [`key_schema`].
    pub async fn equality_deletes(
        &self,
        partition: Vec<Option<Literal>>,
        ids: &[i32],
        batches: &[RecordBatch],
    ) -> Result<DataFile, Error> {
        let schema = Arc::new(key_schema(self.table.metadata.current_schema(), ids));
        if let Some(id) = ids.iter().find(|id| schema.field(**id).is_none()) {
            return Err(Error::Refused(format!("field {id} cannot be a key")));
        }
        let schema = WriteSchema::new(&schema)?;
        let settings = WriteSettings::new(&self.table.metadata, &schema)?;
        let keys = Kind {
            schema,
            properties: Arc::new(settings.writer),
            metrics: settings.metrics,
        };
        let content = Content::EqualityDeletes;
        let location = self.location(content, &partition);
        let chunks = encoded(&keys, &location, batches.iter().cloned().map(Ok))?;
        let mut file = self
            .write(&keys, (content, location), partition, chunks)
            .await?;
        file.equality_ids = Some(ids.to_vec());
        Ok(file)
    }

    fn location(&self, content: Content, partition: &[Option<Literal>]) -> String {
        let suffix = if content == Content::Data {
            ""
        } else {
            "-deletes"
        };
        self.places.data_file(&self.spec.path(partition), suffix)
    }

    async fn write(
        &self,
        kind: &Kind,
        (content, location): (Content, String),
        partition: Vec<Option<Literal>>,
        chunks: Vec<Chunk>,
    ) -> Result<DataFile, Error> {
        let spec = &self.spec;
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

/// The columns of a position delete file, some rows at a time.
fn position_batches<'a>(
    schema: SchemaRef,
    rows: impl Iterator<Item = (&'a str, i64)>,
) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    let mut rows = rows.peekable();
    std::iter::from_fn(move || {
        rows.peek()?;
        let mut paths = StringViewBuilder::new().with_deduplicate_strings();
        let mut positions = Vec::with_capacity(POSITIONS_AT_ONCE);
        for (path, row) in rows.by_ref().take(POSITIONS_AT_ONCE) {
            paths.append_value(path);
            positions.push(row);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(paths.finish()),
            Arc::new(Int64Array::from(positions)),
        ];
        Some(RecordBatch::try_new(schema.clone(), columns))
    })
}

fn encoded(
    kind: &Kind,
    location: &str,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<Vec<Chunk>, Error> {
    encode(kind, batches).map_err(|source| Error::Parquet {
        doing: "encode",
        location: location.to_owned(),
        source,
    })
}

fn encode(
    kind: &Kind,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<Vec<Chunk>, ParquetError> {
    let writers = column_writers(&kind.schema, &kind.properties)
        .map_err(|error| ParquetError::External(Box::new(error)))?;
    let mut writers = writers.create_column_writers(0)?;
    for batch in batches {
        let batch = batch?;
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
    let close = |writer: ArrowColumnWriter| writer.close().map(Chunk::Encoded);
    writers.into_iter().map(close).collect()
}
