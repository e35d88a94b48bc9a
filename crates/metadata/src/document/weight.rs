//! What a document would take to be read, found out in little memory and before it is parsed: its
//! few packed bytes may unpack to anything.

use std::io::{BufRead as _, BufReader};

use flate2::read::MultiGzDecoder;

use super::{DOCUMENT_BYTES_MAX, GZIP_MAGIC, TableMetadata, WHAT};
use crate::Error;
use crate::json;

/// Memory that a byte of text takes: the text, its strings in the document and in the views.
const BYTES_PER_BYTE: u64 = 8;
/// Memory that a value takes beside its text.
const BYTES_PER_VALUE: u64 = 128;
/// Unpacked at once, in bytes.
const STEP_BYTES: usize = 64 << 10;

/// How much text and how many values a document has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    pub text_bytes: u64,
    pub values: u64,
}

impl Weight {
    /// Memory that reading it takes, estimated.
    pub fn memory_bytes(self) -> u64 {
        self.text_bytes * BYTES_PER_BYTE + self.values * BYTES_PER_VALUE
    }

    /// The longest text that may be read in so much memory, in bytes.
    pub fn text_bytes_max(memory_bytes: u64) -> u64 {
        memory_bytes / BYTES_PER_BYTE
    }

    fn add(&mut self, text: &[u8]) {
        self.text_bytes += text.len() as u64;
        self.values += json::values(text) as u64;
    }
}

impl TableMetadata {
    /// What the metadata.json `bytes`, plain or gzipped, weighs; counting ends where it takes more
    /// than `memory_bytes_max`.
    pub fn weigh(bytes: &[u8], memory_bytes_max: u64) -> Result<Weight, Error> {
        let mut weight = Weight::default();
        if !bytes.starts_with(&GZIP_MAGIC) {
            weight.add(bytes);
            return Ok(weight);
        }
        let mut text = BufReader::with_capacity(STEP_BYTES, MultiGzDecoder::new(bytes));
        loop {
            let step = text.fill_buf().map_err(|source| Error::Unreadable {
                at: WHAT.to_owned(),
                source: source.into(),
            })?;
            let length = step.len();
            weight.add(step);
            let enough =
                weight.memory_bytes() > memory_bytes_max || weight.text_bytes > DOCUMENT_BYTES_MAX;
            if length == 0 || enough {
                return Ok(weight);
            }
            text.consume(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text).expect("memory");
        packed.finish().expect("memory")
    }

    #[test]
    fn a_document_weighs_the_same_packed_or_not() {
        let text = br#"{"a": [1, 2, {"b": "c"}]}"#.repeat(10_000);
        let weight = TableMetadata::weigh(&text, u64::MAX).expect("a weight");
        let want = Weight {
            text_bytes: 250_000,
            values: 50_000,
        };
        assert_eq!(weight, want);
        assert_eq!(
            TableMetadata::weigh(&packed(&text), u64::MAX).ok(),
            Some(want)
        );
        assert_eq!(want.memory_bytes(), 8 * 250_000 + 128 * 50_000);
    }

    #[test]
    fn what_unpacks_beyond_the_limit_is_not_unpacked_to_its_end() {
        let bomb = packed(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let weight = TableMetadata::weigh(&bomb, 8 << 20).expect("a weight");
        assert!(weight.memory_bytes() > 8 << 20);
        assert!(weight.text_bytes < 2 << 20, "{weight:?}");
        let cut = &bomb[..bomb.len() / 2];
        assert!(TableMetadata::weigh(cut, u64::MAX).is_err());
    }
}
