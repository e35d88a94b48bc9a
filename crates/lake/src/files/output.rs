//! One data file being written: row groups in order, uploaded while the next is encoded.

use std::sync::Arc;

use bytes::Bytes;
use metadata::{Content, DataFile, Literal};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use storage::{Storage, Upload};

use super::bounds::fill_metrics;
use super::properties::MetricsMode;
use super::schema::WriteSchema;
use crate::Error;
use crate::rewrite::Assembled;

/// A column chunk ready to be written.
pub(crate) enum Chunk {
    /// By the library.
    Encoded(ArrowColumnChunk),
    /// From pages of other files.
    Assembled(Assembled),
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Encoded(_) => "Encoded",
            Self::Assembled(_) => "Assembled",
        })
    }
}

impl Chunk {
    pub(crate) fn append_to<W: std::io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Encoded(chunk) => chunk.append_to_row_group(group),
            Self::Assembled(chunk) => group.append_column(&chunk.bytes, chunk.closed),
        }
    }
}

/// A file that is not visible yet. Dropped before [`OutputFile::finish`], it leaves nothing.
pub(crate) struct OutputFile {
    location: String,
    writer: SerializedFileWriter<Vec<u8>>,
    upload: Upload,
    rows: u64,
}

impl std::fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputFile")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl OutputFile {
    /// `location` must be reserved already.
    pub(crate) async fn create(
        storage: &Storage,
        location: String,
        schema: &WriteSchema,
        properties: &Arc<WriterProperties>,
    ) -> Result<Self, Error> {
        let writer =
            SerializedFileWriter::new(Vec::new(), schema.parquet.clone(), properties.clone())
                .map_err(|source| bad(&location, source))?;
        let upload = storage
            .upload(&location)
            .await
            .map_err(|source| Error::Storage {
                doing: "begin a data file",
                source,
            })?;
        Ok(Self {
            location,
            writer,
            upload,
            rows: 0,
        })
    }

    /// Adds a row group made of these chunks, in column order.
    pub(crate) async fn append(&mut self, chunks: Vec<Chunk>) -> Result<(), Error> {
        let rows = self
            .append_chunks(chunks)
            .map_err(|source| bad(&self.location, source))?;
        self.rows += rows;
        self.upload_buffered().await
    }

    fn append_chunks(&mut self, chunks: Vec<Chunk>) -> Result<u64, ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to(&mut group)?;
        }
        let group = group.close()?;
        self.writer.flush()?;
        Ok(group.num_rows() as u64)
    }

    async fn upload_buffered(&mut self) -> Result<(), Error> {
        let bytes = std::mem::take(self.writer.inner_mut());
        self.put(bytes).await
    }

    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.upload
            .put(Bytes::from(bytes))
            .await
            .map_err(|source| Error::Storage {
                doing: "write a data file",
                source,
            })
    }

    /// Writes the footer, makes the file visible and describes it, metrics included.
    pub(crate) async fn finish(
        mut self,
        content: Content,
        schema: &WriteSchema,
        modes: &[MetricsMode],
        (spec_id, partition): (i32, Vec<Option<Literal>>),
    ) -> Result<DataFile, Error> {
        let footer = self
            .writer
            .finish()
            .map_err(|source| bad(&self.location, source))?;
        self.writer
            .flush()
            .map_err(|source| bad(&self.location, source.into()))?;
        self.upload_buffered().await?;
        let size = self
            .upload
            .finish()
            .await
            .map_err(|source| Error::Storage {
                doing: "finish a data file",
                source,
            })?;
        let mut file = DataFile::new(content, self.location);
        file.spec_id = spec_id;
        file.partition = partition;
        file.record_count = self.rows;
        file.file_size_in_bytes = size;
        fill_metrics(&mut file, &footer, schema, modes);
        if content == Content::Data {
            file.sort_order_id = Some(0);
        }
        Ok(file)
    }
}

/// Makes the column writers of one schema's row groups.
pub(crate) fn column_writers(
    schema: &WriteSchema,
    properties: &Arc<WriterProperties>,
) -> Result<ArrowRowGroupWriterFactory, Error> {
    let writer = SerializedFileWriter::new(Vec::new(), schema.parquet.clone(), properties.clone())
        .map_err(|source| bad("a new data file", source))?;
    Ok(ArrowRowGroupWriterFactory::new(
        &writer,
        schema.arrow.clone(),
    ))
}

fn bad(location: &str, source: ParquetError) -> Error {
    Error::Parquet {
        doing: "write",
        location: location.to_owned(),
        source,
    }
}
