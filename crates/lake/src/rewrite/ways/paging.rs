//! Values gathered into pages of the size the table asks for, packed with its codec.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::Page;

use super::Odd;
use super::assembly::{Assembly, Told};
use super::compress::Packer;
use super::hybrid;
use super::value::Seen;
use super::wanted::Wanted;

/// The levels of the page being filled.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// For each row whether it has a value; of a required column nothing is kept.
    defined: Vec<u32>,
    pub(super) rows: usize,
    pub(super) nulls: usize,
}

impl Levels {
    pub(super) fn add(&mut self, wanted: &Wanted, defined: bool) {
        self.rows += 1;
        if wanted.nullable() {
            self.defined.push(u32::from(defined));
            self.nulls += usize::from(!defined);
        }
    }

    /// As a page of the first kind begins.
    fn pack(&self, wanted: &Wanted) -> Vec<u8> {
        let mut bytes = Vec::new();
        if wanted.nullable() {
            bytes.extend([0; size_of::<u32>()]);
            hybrid::pack(&self.defined, 1, &mut bytes);
            let length = (bytes.len() - size_of::<u32>()) as u32;
            bytes[..size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }
}

/// Adds a page of data of the first kind: these levels, then what `values` appends.
pub(super) fn put(
    assembly: &mut Assembly<'_>,
    (wanted, packer): (&Wanted, &mut Packer),
    levels: &mut Levels,
    encoding: Encoding,
    seen: Seen,
    values: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Odd> {
    let levels = std::mem::take(levels);
    let mut bytes = levels.pack(wanted);
    values(&mut bytes);
    let unpacked = bytes.len();
    let page = Page::DataPage {
        buf: packer.pack(bytes)?,
        num_values: levels.rows as u32,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    let told = Told {
        rows: levels.rows,
        nulls: levels.nulls,
        seen,
    };
    assembly.data(page, unpacked, told)
}

/// A page of data whose values are packed already. A nullable column's is of the second kind:
/// there, levels are not packed.
pub(super) fn around(
    wanted: &Wanted,
    levels: &[u32],
    (values, unpacked): (&Bytes, usize),
    present: usize,
) -> (Page, usize) {
    if !wanted.nullable() {
        let page = Page::DataPage {
            buf: values.clone(),
            num_values: present as u32,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        return (page, unpacked);
    }
    let mut bytes = Vec::new();
    hybrid::pack(levels, 1, &mut bytes);
    let length = bytes.len();
    bytes.extend_from_slice(values);
    let page = Page::DataPageV2 {
        buf: bytes.into(),
        num_values: levels.len() as u32,
        encoding: Encoding::PLAIN,
        num_nulls: (levels.len() - present) as u32,
        num_rows: levels.len() as u32,
        def_levels_byte_len: length as u32,
        rep_levels_byte_len: 0,
        is_compressed: wanted.codec != Compression::UNCOMPRESSED,
        statistics: None,
    };
    (page, length + unpacked)
}
