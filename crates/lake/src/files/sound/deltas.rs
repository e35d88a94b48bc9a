//! Pages of byte arrays in delta encodings say inside how many lengths follow; the library makes
//! room for all of them at once. Such pages are unpacked and looked at before.

use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::thrift::{Bad, Compact};

/// Lengths any page may hold, and how many more for each of its bytes. Writers pack 128 into five
/// bytes at the most.
const LENGTHS_FREE: u64 = 1 << 16;
const LENGTHS_PER_BYTE: u64 = 64;

/// As pages' headers number them.
pub(super) const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
pub(super) const DELTA_BYTE_ARRAY: i64 = 7;

/// Checks every page of a column that is in one of these encodings.
pub(super) fn check<R: ChunkReader + Clone + 'static>(
    bytes: &R,
    column: &ColumnChunkMetaData,
) -> Result<(), String> {
    let said = |error: parquet::errors::ParquetError| error.to_string();
    let mut pages =
        SerializedPageReader::new(Arc::new(bytes.clone()), column, 0, None).map_err(said)?;
    while let Some(page) = pages.get_next_page().map_err(said)? {
        let streams = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => continue,
        };
        let values = values(&page, column).ok_or("the levels of a page are longer than it")?;
        lengths(values, streams, u64::from(page.num_values()))?;
    }
    Ok(())
}

/// What follows the levels of a page.
fn values<'a>(page: &'a Page, column: &ColumnChunkMetaData) -> Option<&'a [u8]> {
    let descriptor = column.column_descr();
    match page {
        Page::DataPage { buf, .. } => {
            let mut rest: &[u8] = buf;
            for level in [descriptor.max_rep_level(), descriptor.max_def_level()] {
                if level > 0 {
                    let (length, levels) = rest.split_first_chunk()?;
                    rest = levels.get(u32::from_le_bytes(*length) as usize..)?;
                }
            }
            Some(rest)
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => {
            let levels = def_levels_byte_len.checked_add(*rep_levels_byte_len)?;
            buf.get(levels as usize..)
        }
        Page::DictionaryPage { .. } => None,
    }
}

/// Walks over the streams of lengths that `bytes` begin with: as many as there may be values.
fn lengths(bytes: &[u8], streams: u32, values: u64) -> Result<(), Bad> {
    let most = values.min(LENGTHS_FREE + bytes.len() as u64 * LENGTHS_PER_BYTE);
    let mut compact = Compact::new(bytes);
    for _ in 0..streams {
        stream(&mut compact, most)?;
    }
    Ok(())
}

fn stream(compact: &mut Compact<'_>, most: u64) -> Result<(), Bad> {
    let (block, parts, count) = (compact.varint()?, compact.varint()?, compact.varint()?);
    compact.varint()?;
    if count > most {
        return Err("a page announces more lengths than it has values");
    }
    if parts == 0 || block % parts != 0 {
        return Err("a page has blocks that cannot be divided");
    }
    let in_part = block / parts;
    let mut left = count.saturating_sub(1);
    if left > 0 && in_part == 0 {
        return Err("a page has blocks of nothing");
    }
    while left > 0 {
        compact.varint()?;
        let widths = compact.take(parts)?;
        for width in widths {
            if left == 0 {
                break;
            }
            let bits = u64::from(*width).checked_mul(in_part);
            compact.jump(bits.ok_or("a page has blocks beyond all bounds")? / 8)?;
            left = left.saturating_sub(in_part);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of `count` lengths that are all the same, in blocks of 128.
    fn same(count: u8) -> Vec<u8> {
        let blocks = usize::from(count).saturating_sub(1).div_ceil(128);
        let mut bytes = vec![0x80, 0x01, 0x04, count, 0x06];
        bytes.extend([0; 5].repeat(blocks));
        bytes
    }

    #[test]
    fn as_many_lengths_as_values_are_walked_over() {
        for count in [0, 1, 2, 100] {
            let both = [same(count), same(count)].concat();
            lengths(&both, 2, 100).unwrap();
        }
        let both = [same(100), same(101)].concat();
        lengths(&both, 1, 100).unwrap();
        assert!(lengths(&both, 2, 100).is_err());
    }

    #[test]
    fn what_no_bytes_can_back_is_refused() {
        let large = [0xff, 0xff, 0xff, 0xff, 0x7f];
        let announced = [&[0x80, 0x01, 0x04], &large[..], &[0x00]].concat();
        assert!(lengths(&announced, 1, u64::MAX).is_err());
        let blocks = [&[0x80, 0x01], &large[..], &[0x05, 0x00]].concat();
        assert!(lengths(&blocks, 1, 10).is_err());
        for bytes in [
            &[][..],
            &[0x80],
            &[0x00, 0x04, 0x05, 0x00],
            &[0x04, 0x00, 0x05, 0x00],
        ] {
            assert!(lengths(bytes, 1, 10).is_err(), "{bytes:?}");
        }
        let mut cut = same(100);
        cut.pop();
        assert!(lengths(&cut, 1, 100).is_err());
    }
}
