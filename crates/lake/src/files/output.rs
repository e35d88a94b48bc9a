//! One data file being written: row groups in order, uploaded while the next is encoded.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

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
    pub(crate) fn append_to<W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        match self {
            Self::Encoded(chunk) => chunk.append_to_row_group(group),
            Self::Assembled(chunk) => group.append_column(&chunk.bytes, chunk.closed),
        }
    }
}

/// Where the library writes to, and what is taken from there before there is more of it.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that is not visible yet. Dropped before [`OutputFile::finish`], it leaves nothing.
pub(crate) struct OutputFile {
    location: String,
    writer: SerializedFileWriter<Pipe>,
    pipe: Pipe,
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
        let pipe = Pipe::default();
        let writer =
            SerializedFileWriter::new(pipe.clone(), schema.parquet.clone(), properties.clone())
                .map_err(bad(&location))?;
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
            pipe,
            upload,
            rows: 0,
        })
    }

    /// Adds a row group made of these chunks, in column order. Each is handed on before the next,
    /// so that no more than one is there twice.
    pub(crate) async fn append(&mut self, chunks: Vec<Chunk>) -> Result<(), Error> {
        let location = &self.location;
        let mut group = self.writer.next_row_group().map_err(bad(location))?;
        for chunk in chunks {
            chunk.append_to(&mut group).map_err(bad(location))?;
            put(&mut self.upload, self.pipe.take()).await?;
        }
        let group = group.close().map_err(bad(location))?;
        self.rows += group.num_rows() as u64;
        Ok(())
    }

    /// Writes the footer, makes the file visible and describes it, metrics included.
    pub(crate) async fn finish(
        mut self,
        content: Content,
        schema: &WriteSchema,
        modes: &[MetricsMode],
        (spec_id, partition): (i32, Vec<Option<Literal>>),
    ) -> Result<DataFile, Error> {
        let location = &self.location;
        let footer = self.writer.finish().map_err(bad(location))?;
        let flushed = self.writer.flush();
        flushed.map_err(|source| bad(location)(source.into()))?;
        put(&mut self.upload, self.pipe.take()).await?;
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
        .map_err(bad("a new data file"))?;
    Ok(ArrowRowGroupWriterFactory::new(
        &writer,
        schema.arrow.clone(),
    ))
}

async fn put(upload: &mut Upload, bytes: Vec<u8>) -> Result<(), Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let put = upload.put(Bytes::from(bytes)).await;
    put.map_err(|source| Error::Storage {
        doing: "write a data file",
        source,
    })
}

fn bad(location: &str) -> impl Fn(ParquetError) -> Error {
    move |source| Error::Parquet {
        doing: "write",
        location: location.to_owned(),
        source,
    }
}
