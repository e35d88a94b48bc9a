//! What the table's write properties ask of a data file, with Java's defaults where it is silent.

use std::collections::BTreeMap;
use std::str::FromStr;

use metadata::TableMetadata;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::schema::WriteSchema;
use crate::Error;

const CODEC: &str = "write.parquet.compression-codec";
const LEVEL: &str = "write.parquet.compression-level";
const ROW_GROUP_BYTES: &str = "write.parquet.row-group-size-bytes";
const PAGE_BYTES: &str = "write.parquet.page-size-bytes";
const PAGE_ROWS: &str = "write.parquet.page-row-limit";
const DICTIONARY_BYTES: &str = "write.parquet.dict-size-bytes";
const BLOOM_ENABLED: &str = "write.parquet.bloom-filter-enabled.column.";
const BLOOM_FPP: &str = "write.parquet.bloom-filter-fpp.column.";
const BLOOM_NDV: &str = "write.parquet.bloom-filter-ndv.column.";
const METRICS_DEFAULT: &str = "write.metadata.metrics.default";
const METRICS_COLUMN: &str = "write.metadata.metrics.column.";
const METRICS_COLUMNS_MAX: &str = "write.metadata.metrics.max-inferred-column-defaults";

/// Level of zstd when the table sets none: 17 % faster than 3 for 0.6 % more bytes.
const ZSTD_LEVEL: i32 = 1;
const ROW_GROUP_BYTES_DEFAULT: u64 = 128 << 20;
const PAGE_BYTES_DEFAULT: u64 = 1 << 20;
const PAGE_ROWS_DEFAULT: u64 = 20_000;
const DICTIONARY_BYTES_DEFAULT: u64 = 2 << 20;
const BLOOM_FPP_DEFAULT: f64 = 0.01;
/// Columns that get metrics when the table does not say which.
const METRICS_COLUMNS_MAX_DEFAULT: u64 = 100;
/// Longest encoding of a character in UTF-8, in bytes.
const CHARACTER_BYTES_MAX: usize = 4;
/// What page statistics are cut to at least, in bytes (the Parquet library's default).
const STATISTICS_BYTES_MIN: usize = 64;

/// How much of a column's metrics a manifest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsMode {
    None,
    Counts,
    /// Bounds cut to so many characters or bytes.
    Truncate(usize),
    Full,
}

impl FromStr for MetricsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "none" => Ok(Self::None),
            "counts" => Ok(Self::Counts),
            "full" => Ok(Self::Full),
            _ => {
                let length = text
                    .strip_prefix("truncate(")
                    .and_then(|rest| rest.strip_suffix(')'));
                match length.and_then(|length| length.trim().parse().ok()) {
                    Some(length) if length > 0 => Ok(Self::Truncate(length)),
                    _ => Err(()),
                }
            }
        }
    }
}

/// The properties of one table, resolved for one schema.
#[derive(Debug, Clone)]
pub(crate) struct WriteSettings {
    pub(crate) writer: WriterProperties,
    pub(crate) row_group_bytes: u64,
    /// By leaf, in the order of the schema's leaves.
    pub(crate) metrics: Vec<MetricsMode>,
}

impl WriteSettings {
    /// Fails on a value that cannot be used, naming the property.
    pub(crate) fn new(table: &TableMetadata, schema: &WriteSchema) -> Result<Self, Error> {
        let properties = table.properties();
        let metrics = metrics_modes(properties, schema)?;
        let mut builder = WriterProperties::builder()
            .set_created_by(concat!("snowpack ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression(properties)?)
            .set_data_page_size_limit(number(properties, PAGE_BYTES, PAGE_BYTES_DEFAULT)? as usize)
            .set_data_page_row_count_limit(
                number(properties, PAGE_ROWS, PAGE_ROWS_DEFAULT)? as usize
            )
            .set_dictionary_page_size_limit(number(
                properties,
                DICTIONARY_BYTES,
                DICTIONARY_BYTES_DEFAULT,
            )? as usize)
            .set_statistics_truncate_length(statistics_bytes(&metrics));
        builder = bloom_filters(builder, properties, schema)?;
        Ok(Self {
            writer: builder.build(),
            row_group_bytes: number(properties, ROW_GROUP_BYTES, ROW_GROUP_BYTES_DEFAULT)?,
            metrics,
        })
    }
}

/// Statistics are the source of bounds, so they must be at least as long as the longest bound.
fn statistics_bytes(modes: &[MetricsMode]) -> Option<usize> {
    let mut longest = STATISTICS_BYTES_MIN;
    for mode in modes {
        match mode {
            MetricsMode::Full => return None,
            // One more than asked: the cut must be seen to be a cut.
            MetricsMode::Truncate(length) => {
                longest = longest.max((length + 1) * CHARACTER_BYTES_MAX);
            }
            MetricsMode::None | MetricsMode::Counts => {}
        }
    }
    Some(longest)
}

fn bad_value(key: &str, value: &str, why: &str) -> Error {
    Error::Refused(format!("table property {key} = `{value}`: {why}"))
}

fn number(properties: &BTreeMap<String, String>, key: &str, default: u64) -> Result<u64, Error> {
    match properties.get(key) {
        None => Ok(default),
        Some(value) => match value.trim().parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(bad_value(key, value, "not a whole number above zero")),
        },
    }
}

fn compression(properties: &BTreeMap<String, String>) -> Result<Compression, Error> {
    let codec = properties.get(CODEC).map_or("zstd", String::as_str);
    let level = match properties.get(LEVEL) {
        None => None,
        Some(value) => {
            let level: i32 = value
                .trim()
                .parse()
                .map_err(|_| bad_value(LEVEL, value, "not a whole number"))?;
            Some(level)
        }
    };
    let bad_level = |_| {
        bad_value(
            LEVEL,
            &level.unwrap_or_default().to_string(),
            "not a level of the codec",
        )
    };
    let unsigned = level.map(|level| u32::try_from(level).unwrap_or(u32::MAX));
    Ok(match codec.trim().to_ascii_lowercase().as_str() {
        "zstd" => {
            Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(ZSTD_LEVEL)).map_err(bad_level)?)
        }
        "gzip" => Compression::GZIP(match unsigned {
            None => GzipLevel::default(),
            Some(level) => GzipLevel::try_new(level).map_err(bad_level)?,
        }),
        "brotli" => Compression::BROTLI(match unsigned {
            None => BrotliLevel::default(),
            Some(level) => BrotliLevel::try_new(level).map_err(bad_level)?,
        }),
        "snappy" => Compression::SNAPPY,
        "lz4" | "lz4_raw" => Compression::LZ4_RAW,
        "uncompressed" | "none" => Compression::UNCOMPRESSED,
        _ => {
            return Err(bad_value(
                CODEC,
                codec,
                "not a codec of Parquet this version writes",
            ));
        }
    })
}

fn bloom_filters(
    mut builder: WriterPropertiesBuilder,
    properties: &BTreeMap<String, String>,
    schema: &WriteSchema,
) -> Result<WriterPropertiesBuilder, Error> {
    for (index, leaf) in schema.leaves.iter().enumerate() {
        let enabled = properties.get(&format!("{BLOOM_ENABLED}{}", leaf.name));
        if enabled.is_none_or(|value| !value.eq_ignore_ascii_case("true")) {
            continue;
        }
        let path = leaf_path(schema, index);
        let key = format!("{BLOOM_FPP}{}", leaf.name);
        let fpp = match properties.get(&key) {
            None => BLOOM_FPP_DEFAULT,
            Some(value) => match value.trim().parse::<f64>() {
                Ok(fpp) if fpp > 0.0 && fpp < 1.0 => fpp,
                _ => return Err(bad_value(&key, value, "not a number between 0 and 1")),
            },
        };
        builder = builder.set_column_bloom_filter_fpp(path.clone(), fpp);
        let key = format!("{BLOOM_NDV}{}", leaf.name);
        if properties.contains_key(&key) {
            builder = builder.set_column_bloom_filter_max_ndv(path, number(properties, &key, 1)?);
        }
    }
    Ok(builder)
}

/// The path of a leaf in the Parquet schema, list and key_value levels included.
fn leaf_path(schema: &WriteSchema, index: usize) -> ColumnPath {
    let descriptor = parquet::schema::types::SchemaDescriptor::new(schema.parquet.clone());
    descriptor.column(index).path().clone()
}

fn metrics_modes(
    properties: &BTreeMap<String, String>,
    schema: &WriteSchema,
) -> Result<Vec<MetricsMode>, Error> {
    let parse = |key: &str, value: &str| -> Result<MetricsMode, Error> {
        value
            .parse()
            .map_err(|()| bad_value(key, value, "not none, counts, truncate(n) or full"))
    };
    let default = match properties.get(METRICS_DEFAULT) {
        Some(value) => Some(parse(METRICS_DEFAULT, value)?),
        None => None,
    };
    let limit = number(properties, METRICS_COLUMNS_MAX, METRICS_COLUMNS_MAX_DEFAULT)? as usize;
    let mut modes = Vec::with_capacity(schema.leaves.len());
    for (index, leaf) in schema.leaves.iter().enumerate() {
        let key = format!("{METRICS_COLUMN}{}", leaf.name);
        modes.push(match (properties.get(&key), default) {
            (Some(value), _) => parse(&key, value)?,
            (None, Some(mode)) => mode,
            (None, None) if index < limit => MetricsMode::Truncate(16),
            (None, None) => MetricsMode::None,
        });
    }
    Ok(modes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn zstd_1_is_written_when_the_table_says_nothing() {
        let want = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
        assert_eq!(compression(&properties(&[])).unwrap(), want);
    }

    #[test]
    fn the_tables_codec_and_level_are_taken() {
        let set = properties(&[(CODEC, "GZIP"), (LEVEL, "9")]);
        assert_eq!(
            compression(&set).unwrap(),
            Compression::GZIP(GzipLevel::try_new(9).unwrap())
        );
        assert_eq!(
            compression(&properties(&[(CODEC, "snappy")])).unwrap(),
            Compression::SNAPPY
        );
    }

    #[test]
    fn an_unusable_property_is_named() {
        for (key, value) in [(CODEC, "rar"), (LEVEL, "fast"), (LEVEL, "99")] {
            let error = compression(&properties(&[(key, value)]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let error = number(&properties(&[(PAGE_BYTES, "-1")]), PAGE_BYTES, 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains(PAGE_BYTES), "{error}");
    }

    #[test]
    fn metrics_modes_are_read_as_java_writes_them() {
        assert_eq!("truncate(16)".parse(), Ok(MetricsMode::Truncate(16)));
        assert_eq!("Full".parse(), Ok(MetricsMode::Full));
        assert_eq!("truncate(0)".parse::<MetricsMode>(), Err(()));
    }
}
