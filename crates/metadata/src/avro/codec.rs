//! The codecs a block may be compressed with.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::Malformed;

/// What one decompressed block may take, in bytes. Writers close a block long before.
const BLOCK_BYTES_MAX: u64 = 128 << 20;
/// Snappy cannot compress better than 64 bytes into 3.
const SNAPPY_RATIO_MAX: usize = 32;
/// Bytes of the checksum behind a snappy block.
const CHECKSUM_BYTES: usize = 4;

/// How blocks are compressed. Levels matter for writing only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Null,
    Deflate { level: u32 },
    Snappy,
    Zstandard { level: i32 },
}

impl Codec {
    /// Deflate is Java's and PyIceberg's default for manifests. Not at its usual level, 6, which took
    /// most of the time of a merge.
    pub(crate) const DEFLATE: Self = Self::Deflate { level: 3 };

    /// The codec's name in a container's header.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate { .. } => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard { .. } => "zstandard",
        }
    }

    /// The codec a header names, with its default level.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "null" => Some(Self::Null),
            "deflate" => Some(Self::DEFLATE),
            "snappy" => Some(Self::Snappy),
            "zstandard" => Some(Self::Zstandard {
                level: zstd::DEFAULT_COMPRESSION_LEVEL,
            }),
            _ => None,
        }
    }

    pub(crate) fn decompress(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
        match self {
            Self::Null => Ok(Cow::Borrowed(bytes)),
            Self::Deflate { .. } => drain(DeflateDecoder::new(bytes), "deflate").map(Cow::Owned),
            Self::Snappy => unsnap(bytes).map(Cow::Owned),
            Self::Zstandard { .. } => {
                let decoder = zstd::stream::read::Decoder::with_buffer(bytes)
                    .map_err(|error| Malformed::new(format!("zstandard: {error}")))?;
                drain(decoder, "zstandard").map(Cow::Owned)
            }
        }
    }

    pub(crate) fn compress(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        const MEMORY: &str = "writing to memory does not fail";
        match self {
            Self::Null => Cow::Borrowed(bytes),
            Self::Deflate { level } => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
                encoder.write_all(bytes).expect(MEMORY);
                Cow::Owned(encoder.finish().expect(MEMORY))
            }
            Self::Snappy => {
                let mut compressed = snap::raw::Encoder::new()
                    .compress_vec(bytes)
                    .expect("a block is under 4 GiB");
                compressed.extend_from_slice(&checksum(bytes).to_be_bytes());
                Cow::Owned(compressed)
            }
            Self::Zstandard { level } => {
                Cow::Owned(zstd::stream::encode_all(bytes, level).expect(MEMORY))
            }
        }
    }
}

fn drain(decoder: impl Read, codec: &str) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    decoder
        .take(BLOCK_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Malformed::new(format!("{codec}: {error}")))?;
    if bytes.len() as u64 > BLOCK_BYTES_MAX {
        return Err(Malformed::new(format!(
            "a block holds more than {BLOCK_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

fn unsnap(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let malformed = |why: String| Malformed::new(format!("snappy: {why}"));
    let split = bytes.len().checked_sub(CHECKSUM_BYTES);
    let (packed, expected) =
        bytes.split_at(split.ok_or_else(|| malformed("the checksum is missing".to_owned()))?);
    let length = snap::raw::decompress_len(packed).map_err(|error| malformed(error.to_string()))?;
    if length > packed.len().saturating_mul(SNAPPY_RATIO_MAX) || length as u64 > BLOCK_BYTES_MAX {
        return Err(malformed(format!(
            "{length} bytes announced in {}",
            packed.len()
        )));
    }
    let plain = snap::raw::Decoder::new()
        .decompress_vec(packed)
        .map_err(|error| malformed(error.to_string()))?;
    if checksum(&plain).to_be_bytes() != expected {
        return Err(malformed("the checksum differs".to_owned()));
    }
    Ok(plain)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
