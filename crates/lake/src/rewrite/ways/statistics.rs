//! A chunk's statistics, as the library's writer makes them: bounds of text and bytes are cut, the
//! upper one is raised then.

use parquet::basic::Type;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::value::{Kind, Seen};
use super::wanted::Wanted;

/// Longest encoding of a character in UTF-8, in bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// Cuts bounds to `length` bytes, if they are of a type whose order allows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) kind: Kind,
    pub(super) length: Option<usize>,
}

impl Cut {
    fn length(self, value: &[u8]) -> Option<usize> {
        let cuts = matches!(self.kind, Kind::Text | Kind::Bytes | Kind::Fixed(_));
        self.length.filter(|length| cuts && *length < value.len())
    }

    /// A lower bound, and whether it is one only because it was cut.
    pub(super) fn min(self, value: Vec<u8>) -> (Vec<u8>, bool) {
        let cut = self
            .length(&value)
            .and_then(|length| match self.text(&value) {
                Some(text) => {
                    let end = text.floor_char_boundary(length);
                    (end > 0).then(|| value[..end].to_vec())
                }
                None => Some(value[..length].to_vec()),
            });
        cut.map_or((value, false), |cut| (cut, true))
    }

    /// An upper bound; the whole value when nothing that is cut lies above it.
    pub(super) fn max(self, value: Vec<u8>) -> (Vec<u8>, bool) {
        let cut = self
            .length(&value)
            .and_then(|length| match self.text(&value) {
                Some(text) => {
                    let end = text.floor_char_boundary(length);
                    let near = length - end < CHARACTER_BYTES_MAX;
                    near.then(|| raised_text(&text[..end])).flatten()
                }
                None => raised(&value[..length]),
            });
        cut.map_or((value, false), |cut| (cut, true))
    }

    fn text(self, value: &[u8]) -> Option<&str> {
        let text = self.kind == Kind::Text;
        text.then(|| std::str::from_utf8(value).ok()).flatten()
    }
}

/// The text with its last character raised that can be by one as long.
fn raised_text(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1)?;
        (next.len_utf8() == last.len_utf8()).then(|| {
            let mut raised = text[..at].to_owned();
            raised.push(next);
            raised.into_bytes()
        })
    })
}

/// The bytes with the last one raised that can be; those behind it become 0.
fn raised(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut raised = bytes.to_vec();
    raised[last] += 1;
    raised[last + 1..].fill(0);
    Some(raised)
}

pub(super) fn statistics(wanted: &Wanted, seen: Seen, nulls: u64) -> Statistics {
    let nans = wanted.kind.floating().then_some(seen.nans);
    let cut = Cut {
        kind: wanted.kind,
        length: wanted.statistics_bytes,
    };
    let (min, max) = match seen.bounds {
        None => (None, None),
        Some((min, max)) => (Some(cut.min(min)), Some(cut.max(max))),
    };
    let backwards = wanted.column.sort_order().is_signed();
    macro_rules! of {
        ($read:expr) => {{
            let exact = |bound: &Option<(Vec<u8>, bool)>| bound.as_ref().is_some_and(|it| !it.1);
            let (min_exact, max_exact) = (exact(&min), exact(&max));
            let (min, max) = (
                min.and_then(|it| $read(it.0)),
                max.and_then(|it| $read(it.0)),
            );
            ValueStatistics::new(min, max, None, Some(nulls), false)
                .with_nan_count(nans)
                .with_backwards_compatible_min_max(backwards)
                .with_min_is_exact(min_exact)
                .with_max_is_exact(max_exact)
                .into()
        }};
    }
    match wanted.column.physical_type() {
        Type::BOOLEAN => of!(|bytes: Vec<u8>| bytes.first().map(|byte| *byte != 0)),
        Type::INT32 => of!(|bytes: Vec<u8>| bytes.try_into().ok().map(i32::from_le_bytes)),
        Type::INT64 | Type::INT96 => {
            of!(|bytes: Vec<u8>| bytes.try_into().ok().map(i64::from_le_bytes))
        }
        Type::FLOAT => of!(|bytes: Vec<u8>| bytes.try_into().ok().map(f32::from_le_bytes)),
        Type::DOUBLE => of!(|bytes: Vec<u8>| bytes.try_into().ok().map(f64::from_le_bytes)),
        Type::BYTE_ARRAY => of!(|bytes: Vec<u8>| Some(ByteArray::from(bytes))),
        Type::FIXED_LEN_BYTE_ARRAY => of!(|bytes: Vec<u8>| Some(FixedLenByteArray::from(bytes))),
    }
}
