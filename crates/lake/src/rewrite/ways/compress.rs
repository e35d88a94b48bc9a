//! Packs bytes with a codec of Parquet: zstd, the usual one, with one context for all pages of a
//! chunk, for to make one costs as much as to pack a page. The library keeps its other codecs to
//! itself, but a page of a required column with a single value of fixed length is that value and
//! nothing else.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Repetition, Type};
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::{ColumnWriter, get_column_writer};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type as ParquetType};
use zstd::bulk::Compressor;

use super::Odd;

/// A codec with its level.
pub(super) struct Packer {
    codec: Compression,
    properties: Arc<WriterProperties>,
    zstd: Option<Compressor<'static>>,
}

/// Keeps the one page there is.
struct Keep<'a>(&'a mut Option<Bytes>);

impl PageWriter for Keep<'_> {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec, ParquetError> {
        let mut spec = PageWriteSpec::new();
        spec.page_type = page.page_type();
        spec.num_values = page.num_values();
        *self.0 = Some(page.compressed_page().buffer().clone());
        Ok(spec)
    }

    fn close(&mut self) -> Result<(), ParquetError> {
        Ok(())
    }
}

impl Packer {
    pub(super) fn new(codec: Compression) -> Result<Self, Odd> {
        let zstd = match codec {
            Compression::ZSTD(level) => Some(Compressor::new(level.compression_level())),
            _ => None,
        };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .build();
        Ok(Self {
            codec,
            properties: Arc::new(properties),
            zstd: zstd.transpose().map_err(|error| error.to_string())?,
        })
    }

    pub(super) fn pack(&mut self, bytes: Vec<u8>) -> Result<Bytes, Odd> {
        if self.codec == Compression::UNCOMPRESSED || bytes.is_empty() {
            return Ok(bytes.into());
        }
        if let Some(zstd) = &mut self.zstd {
            let packed = zstd.compress(&bytes).map_err(|error| error.to_string())?;
            return Ok(packed.into());
        }
        let length = i32::try_from(bytes.len()).map_err(|_| "a page is too large")?;
        let ty = ParquetType::primitive_type_builder("page", Type::FIXED_LEN_BYTE_ARRAY)
            .with_repetition(Repetition::REQUIRED)
            .with_length(length)
            .build()?;
        let column = ColumnDescriptor::new(Arc::new(ty), 0, 0, ColumnPath::from("page"));
        let value = FixedLenByteArray::from(ByteArray::from(Bytes::from(bytes)));
        let mut kept = None;
        let keep = Box::new(Keep(&mut kept));
        match get_column_writer(Arc::new(column), Arc::clone(&self.properties), keep) {
            ColumnWriter::FixedLenByteArrayColumnWriter(mut writer) => {
                writer.write_batch(&[value], None, None)?;
                writer.close()?;
            }
            _ => return Err("a page has no writer".into()),
        }
        kept.ok_or_else(|| "a page was not packed".into())
    }
}
