//! Pages of byte arrays in delta encodings say inside how many lengths follow; the library makes
//! room for all of them at once. A length may be that of a prefix of the value before, so a page
//! holds far more than its bytes. Such pages are unpacked and looked at before.

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
/// So many values are decoded at once, as many as a batch has rows; what their prefixes may add to
/// the bytes of their pages: 32 KiB for each value.
const AT_ONCE: u64 = 16 * 1024;
const PREFIX_BYTES_MAX: u64 = 512 << 20;

const LENGTH_BITS: u64 = 32;

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
    let mut prefixes = Prefixes::default();
    while let Some(page) = pages.get_next_page().map_err(said)? {
        let prefixes = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => None,
            Encoding::DELTA_BYTE_ARRAY => Some(&mut prefixes),
            _ => continue,
        };
        let values = values(&page, column).ok_or("the levels of a page are longer than it")?;
        lengths(values, prefixes, u64::from(page.num_values()))?;
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

/// What prefixes hold that are decoded at once.
#[derive(Debug, Default)]
struct Prefixes {
    count: u64,
    bytes: u64,
}

impl Prefixes {
    fn add(&mut self, length: i32) -> Result<(), Bad> {
        if self.count == AT_ONCE {
            *self = Self::default();
        }
        self.count += 1;
        self.bytes += u64::try_from(length).map_err(|_| "a page has a negative length")?;
        if self.bytes > PREFIX_BYTES_MAX {
            return Err("the prefixes of a few values hold more than fits");
        }
        Ok(())
    }
}

/// Walks over the lengths that `bytes` begin with, those of prefixes first if there are any: as
/// many as there may be values.
fn lengths(bytes: &[u8], prefixes: Option<&mut Prefixes>, values: u64) -> Result<(), Bad> {
    let most = values.min(LENGTHS_FREE + bytes.len() as u64 * LENGTHS_PER_BYTE);
    let mut compact = Compact::new(bytes);
    if let Some(prefixes) = prefixes {
        stream(&mut compact, most, |length| prefixes.add(length))?;
    }
    // The values behind these lengths are in the page, or the library says that they are not.
    stream(&mut compact, most, |_| Ok(()))
}

/// Calls `each` with every length of a stream in `DELTA_BINARY_PACKED`: a first value, then blocks
/// of what is added from one to the next, above the least of the block. Sums wrap at 32 bits, as
/// the library's.
fn stream(
    compact: &mut Compact<'_>,
    most: u64,
    mut each: impl FnMut(i32) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let (block, parts, count) = (compact.varint()?, compact.varint()?, compact.varint()?);
    let mut last = compact.number()? as i32;
    if count > most {
        return Err("a page announces more lengths than it has values");
    }
    if parts == 0 || block % parts != 0 {
        return Err("a page has blocks that cannot be divided");
    }
    if count == 0 {
        return Ok(());
    }
    each(last)?;
    let in_part = block / parts;
    let mut left = count - 1;
    if left > 0 && in_part == 0 {
        return Err("a page has blocks of nothing");
    }
    while left > 0 {
        let floor = compact.number()? as i32;
        let widths = compact.take(parts)?;
        for width in widths {
            if left == 0 {
                break;
            }
            let width = u64::from(*width);
            if width > LENGTH_BITS {
                return Err("a page has lengths of more than 32 bits");
            }
            let bits = in_part.checked_mul(width);
            let packed = compact.take(bits.ok_or("a page has blocks beyond all bounds")? / 8)?;
            for at in 0..in_part.min(left) {
                let step = unpacked(packed, width, at) as i32;
                last = last.wrapping_add(floor).wrapping_add(step);
                each(last)?;
            }
            left = left.saturating_sub(in_part);
        }
    }
    Ok(())
}

/// The number at `at` of those packed into `width` bits each, at most 32, lowest bits first.
fn unpacked(packed: &[u8], width: u64, at: u64) -> u32 {
    let bit = at * width;
    let from = packed.get((bit / 8) as usize..).unwrap_or_default();
    let mut bytes = [0; 8];
    let there = from.len().min(bytes.len());
    bytes[..there].copy_from_slice(&from[..there]);
    (u64::from_le_bytes(bytes) >> (bit % 8) & ((1 << width) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int32Array, RecordBatch};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn with_prefixes(bytes: &[u8], values: u64) -> Result<(), Bad> {
        lengths(bytes, Some(&mut Prefixes::default()), values)
    }

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
            with_prefixes(&both, 100).unwrap();
        }
        let both = [same(100), same(101)].concat();
        lengths(&both, None, 100).unwrap();
        assert!(with_prefixes(&both, 100).is_err());
    }

    /// 129 prefixes of so many MiB each.
    fn long(mebibytes: u8) -> Vec<u8> {
        let first = [0x80, 0x80, 0x80, mebibytes];
        let head = [0x80, 0x01, 0x04, 0x81, 0x01];
        [&head[..], &first, &[0; 5], &same(100)].concat()
    }

    #[test]
    fn prefixes_hold_no_more_than_fits() {
        with_prefixes(&long(3), 200).unwrap();
        let more = Err("the prefixes of a few values hold more than fits");
        assert_eq!(with_prefixes(&long(4), 200), more);
        // Of one page after the other as well.
        let mut prefixes = Prefixes::default();
        lengths(&long(3), Some(&mut prefixes), 200).unwrap();
        assert_eq!(lengths(&long(3), Some(&mut prefixes), 200), more);
        // Unless they are not decoded at once.
        let mut prefixes = Prefixes::default();
        lengths(&long(3), Some(&mut prefixes), 200).unwrap();
        (0..AT_ONCE).for_each(|_| prefixes.add(0).unwrap());
        lengths(&long(3), Some(&mut prefixes), 200).unwrap();
        // 0, then one less at every step.
        let less = [&[0x80, 0x01, 0x04, 0x10, 0x00, 0x01][..], &[0; 4]].concat();
        let both = [less, same(100)].concat();
        assert_eq!(
            with_prefixes(&both, 200),
            Err("a page has a negative length")
        );
    }

    #[test]
    fn lengths_are_those_the_library_packed() {
        let seed = testkit::seed();
        let mut rng = StdRng::seed_from_u64(seed);
        for count in [1, 2, 33, 128, 129, 1_000] {
            let most = 1 << rng.random_range(0..31);
            let packed: Vec<i32> = (0..count).map(|_| rng.random_range(-most..=most)).collect();
            let column: ArrayRef = Arc::new(Int32Array::from(packed.clone()));
            let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
            let properties = WriterProperties::builder()
                .set_dictionary_enabled(false)
                .set_encoding(Encoding::DELTA_BINARY_PACKED)
                .build();
            let mut bytes = Vec::new();
            let writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties));
            let mut writer = writer.unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let file = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
            let group = file.get_row_group(0).unwrap();
            let mut pages = group.get_column_page_reader(0).unwrap();
            let page = pages.get_next_page().unwrap().unwrap();
            let values = values(&page, group.metadata().column(0)).unwrap();
            let mut read = Vec::new();
            stream(&mut Compact::new(values), count, |length| {
                read.push(length);
                Ok(())
            })
            .unwrap();
            assert_eq!(read, packed, "seed {seed}");
        }
    }

    #[test]
    fn what_no_bytes_can_back_is_refused() {
        let large = [0xff, 0xff, 0xff, 0xff, 0x7f];
        let announced = [&[0x80, 0x01, 0x04], &large[..], &[0x00]].concat();
        assert!(lengths(&announced, None, u64::MAX).is_err());
        let blocks = [&[0x80, 0x01], &large[..], &[0x05, 0x00]].concat();
        assert!(lengths(&blocks, None, 10).is_err());
        for bytes in [
            &[][..],
            &[0x80],
            &[0x00, 0x04, 0x05, 0x00],
            &[0x04, 0x00, 0x05, 0x00],
        ] {
            assert!(lengths(bytes, None, 10).is_err(), "{bytes:?}");
        }
        let mut cut = same(100);
        cut.pop();
        assert!(lengths(&cut, None, 100).is_err());
    }
}
