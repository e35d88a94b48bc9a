//! Values as `PLAIN` pages and dictionaries hold them: proven to be as many as are said, and their
//! bounds found, without making anything of them.

use std::cmp::Ordering;

use parquet::basic::{LogicalType, Type};
use parquet::schema::types::ColumnDescriptor;

use super::Odd;

const OTHER_COUNT: &str = "a page holds more or fewer values than it says";
const NO_TEXT: &str = "a value of text is not UTF-8";
/// Before each value of variable length: its length.
const LENGTH_BYTES: usize = 4;

/// What the values of a column are, as far as their order and their place in a page go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    /// Of so many bytes each.
    Fixed(usize),
    /// A big-endian number of so many bytes.
    Decimal(usize),
}

impl Kind {
    /// `None`: of a type that no output has.
    pub(super) fn of(column: &ColumnDescriptor) -> Option<Self> {
        let length = usize::try_from(column.type_length()).unwrap_or(0);
        let logical = column.logical_type_ref();
        Some(match (column.physical_type(), logical) {
            (Type::BOOLEAN, _) => Self::Boolean,
            (Type::INT32, _) => Self::Int,
            (Type::INT64, _) => Self::Long,
            (Type::FLOAT, _) => Self::Float,
            (Type::DOUBLE, _) => Self::Double,
            (Type::BYTE_ARRAY, Some(LogicalType::String)) => Self::Text,
            (Type::BYTE_ARRAY, None) => Self::Bytes,
            (Type::FIXED_LEN_BYTE_ARRAY, _) if length == 0 => return None,
            (Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Decimal(_))) => Self::Decimal(length),
            (Type::FIXED_LEN_BYTE_ARRAY, None | Some(LogicalType::Uuid)) => Self::Fixed(length),
            _ => return None,
        })
    }

    /// Bytes of each value, unless that is another for each.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Boolean | Self::Text | Self::Bytes => None,
            Self::Int | Self::Float => Some(4),
            Self::Long | Self::Double => Some(8),
            Self::Fixed(length) | Self::Decimal(length) => Some(length),
        }
    }

    pub(super) fn variable(self) -> bool {
        matches!(self, Self::Text | Self::Bytes)
    }

    pub(super) fn floating(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    /// The order statistics follow: the total one of floating point numbers, so -0.0 < 0.0.
    pub(super) fn order(self, one: &[u8], two: &[u8]) -> Ordering {
        match self {
            Self::Int => int(one).cmp(&int(two)),
            Self::Long => long(one).cmp(&long(two)),
            Self::Float => float(one).total_cmp(&float(two)),
            Self::Double => double(one).total_cmp(&double(two)),
            Self::Decimal(_) => {
                let sign = |bytes: &[u8]| bytes.first().map(|byte| *byte as i8);
                sign(one).cmp(&sign(two)).then_with(|| one.cmp(two))
            }
            Self::Boolean | Self::Text | Self::Bytes | Self::Fixed(_) => one.cmp(two),
        }
    }

    pub(super) fn is_nan(self, value: &[u8]) -> bool {
        match self {
            Self::Float => float(value).is_nan(),
            Self::Double => double(value).is_nan(),
            _ => false,
        }
    }
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_le_bytes(bytes.try_into().unwrap_or_default())
}

fn long(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

fn float(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().unwrap_or_default())
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

/// What is known of some values of a page or a chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The least and the greatest; NaNs only when there is nothing else.
    pub(super) bounds: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) nans: u64,
    /// Bytes of values of variable length, without their lengths.
    pub(super) variable_bytes: u64,
}

impl Seen {
    pub(super) fn merge(&mut self, kind: Kind, other: &Self) {
        self.nans += other.nans;
        self.variable_bytes += other.variable_bytes;
        let Some((least, most)) = &other.bounds else {
            return;
        };
        let Some((min, max)) = &mut self.bounds else {
            self.bounds.clone_from(&other.bounds);
            return;
        };
        match (kind.is_nan(min), kind.is_nan(least)) {
            (true, false) => self.bounds.clone_from(&other.bounds),
            (false, true) => {}
            (true, true) | (false, false) => {
                if kind.order(least, min) == Ordering::Less {
                    min.clone_from(least);
                }
                if kind.order(most, max) == Ordering::Greater {
                    max.clone_from(most);
                }
            }
        }
    }
}

/// Walks over `count` values that are all of `bytes`.
pub(super) fn look(kind: Kind, bytes: &[u8], count: usize) -> Result<Seen, Odd> {
    let mut seen = Seen::default();
    if kind == Kind::Boolean {
        return look_at_flags(bytes, count);
    }
    if let Some(width) = kind.width() {
        if count.checked_mul(width) != Some(bytes.len()) {
            return Err(OTHER_COUNT.into());
        }
        return Ok(match kind {
            Kind::Int => numbers(bytes, |value| (int(value), false), i32::to_le_bytes),
            Kind::Long => numbers(bytes, |value| (long(value), false), i64::to_le_bytes),
            Kind::Float => {
                let key = |value: &[u8]| (float_key(int(value)), float(value).is_nan());
                numbers(bytes, key, |key| float_key(key).to_le_bytes())
            }
            Kind::Double => {
                let key = |value: &[u8]| (double_key(long(value)), double(value).is_nan());
                numbers(bytes, key, |key| double_key(key).to_le_bytes())
            }
            _ => {
                let mut range = Range::new(kind);
                bytes.chunks_exact(width).for_each(|value| range.add(value));
                seen.bounds = range.bounds();
                seen
            }
        });
    }
    // Lengths are among these bytes; where all are ASCII, so is every value.
    let proven = kind != Kind::Text || bytes.is_ascii();
    let mut range = Range::new(kind);
    let mut rest = bytes;
    for _ in 0..count {
        let value = next(&mut rest)?;
        if !proven && std::str::from_utf8(value).is_err() {
            return Err(NO_TEXT.into());
        }
        seen.variable_bytes += value.len() as u64;
        range.add(value);
    }
    if !rest.is_empty() {
        return Err(OTHER_COUNT.into());
    }
    seen.bounds = range.bounds();
    Ok(seen)
}

/// The next of some values of variable length.
fn next<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Odd> {
    let (length, after) = rest.split_first_chunk().ok_or(OTHER_COUNT)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (value, after) = after.split_at_checked(length).ok_or(OTHER_COUNT)?;
    *rest = after;
    Ok(value)
}

fn look_at_flags(bytes: &[u8], count: usize) -> Result<Seen, Odd> {
    if bytes.len() != count.div_ceil(8) {
        return Err(OTHER_COUNT.into());
    }
    let set = bytes
        .iter()
        .map(|byte| byte.count_ones() as usize)
        .sum::<usize>();
    // Bits behind the last value mean nothing.
    let behind = bytes.last().map_or(0, |last| match count % 8 {
        0 => 0,
        used => (last >> used).count_ones() as usize,
    });
    let set = set - behind;
    let bounds = (count > 0).then(|| (vec![u8::from(set == count)], vec![u8::from(set > 0)]));
    Ok(Seen {
        bounds,
        ..Seen::default()
    })
}

/// Keys that are ordered as the values, each with whether it is of a NaN.
fn numbers<T: Copy + Ord, const N: usize>(
    bytes: &[u8],
    key: impl Fn(&[u8]) -> (T, bool),
    value: impl Fn(T) -> [u8; N],
) -> Seen {
    let widen = |ends: Option<(T, T)>, key: T| {
        let (min, max) = ends.unwrap_or((key, key));
        Some((min.min(key), max.max(key)))
    };
    let (mut nans, mut found, mut of_nans) = (0, None, None);
    for (key, nan) in bytes.chunks_exact(N).map(key) {
        if nan {
            nans += 1;
            of_nans = widen(of_nans, key);
        } else {
            found = widen(found, key);
        }
    }
    let ends = found.or(of_nans);
    Seen {
        bounds: ends.map(|(min, max)| (value(min).to_vec(), value(max).to_vec())),
        nans,
        variable_bytes: 0,
    }
}

/// The bits of a number as an integer in their total order, and back.
fn float_key(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

fn double_key(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

/// The least and the greatest of some values.
struct Range<'a> {
    kind: Kind,
    bounds: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Range<'a> {
    fn new(kind: Kind) -> Self {
        Self { kind, bounds: None }
    }

    fn add(&mut self, value: &'a [u8]) {
        let (min, max) = self.bounds.get_or_insert((value, value));
        if self.kind.order(value, min) == Ordering::Less {
            *min = value;
        } else if self.kind.order(value, max) == Ordering::Greater {
            *max = value;
        }
    }

    fn bounds(self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.bounds.map(|(min, max)| (min.to_vec(), max.to_vec()))
    }
}

/// Where each of `count` values begins in `bytes`, and where the last ends; those of variable
/// length with their lengths.
pub(super) fn starts(kind: Kind, bytes: &[u8], count: usize) -> Result<Vec<u32>, Odd> {
    if u32::try_from(bytes.len()).is_err() {
        return Err("a dictionary is too large".into());
    }
    if let Some(width) = kind.width() {
        if count.checked_mul(width) != Some(bytes.len()) {
            return Err(OTHER_COUNT.into());
        }
        return Ok((0..=count).map(|at| (at * width) as u32).collect());
    }
    if !kind.variable() {
        return Err("a dictionary of flags".into());
    }
    let mut starts = Vec::with_capacity(count.min(bytes.len() / LENGTH_BYTES) + 1);
    let mut rest = bytes;
    for _ in 0..count {
        starts.push((bytes.len() - rest.len()) as u32);
        next(&mut rest)?;
    }
    starts.push((bytes.len() - rest.len()) as u32);
    if rest.is_empty() {
        Ok(starts)
    } else {
        Err(OTHER_COUNT.into())
    }
}

/// A value that [`starts`] found, without its length.
pub(super) fn bare(kind: Kind, value: &[u8]) -> &[u8] {
    if kind.variable() {
        value.get(LENGTH_BYTES..).unwrap_or_default()
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(values: &[[u8; N]]) -> Vec<u8> {
        values.concat()
    }

    fn texts(values: &[&[u8]]) -> Vec<u8> {
        let one = |value: &&[u8]| [&(value.len() as u32).to_le_bytes()[..], value].concat();
        values.iter().flat_map(one).collect()
    }

    #[track_caller]
    fn bounded(kind: Kind, page: &[u8], count: usize, min: &[u8], max: &[u8]) -> Seen {
        let seen = look(kind, page, count).unwrap();
        assert_eq!(seen.bounds, Some((min.to_vec(), max.to_vec())));
        seen
    }

    #[test]
    fn bounds_follow_the_order_of_the_type() {
        let ints = [3i32, -7, 0].map(i32::to_le_bytes);
        bounded(Kind::Int, &bytes(&ints), 3, &ints[1], &ints[0]);
        let longs = [i64::MIN, 5, i64::MAX].map(i64::to_le_bytes);
        bounded(Kind::Long, &bytes(&longs), 3, &longs[0], &longs[2]);
        let decimals = [[0xff, 0x00], [0x00, 0x01], [0x80, 0x00]];
        bounded(
            Kind::Decimal(2),
            &bytes(&decimals),
            3,
            &decimals[2],
            &decimals[1],
        );
        bounded(
            Kind::Fixed(2),
            &bytes(&decimals),
            3,
            &decimals[1],
            &decimals[0],
        );
        let seen = bounded(Kind::Text, &texts(&[b"b", b"", b"ab"]), 3, b"", b"b");
        assert_eq!(seen.variable_bytes, 3);
        bounded(Kind::Boolean, &[0b0000_0111], 3, &[1], &[1]);
        bounded(Kind::Boolean, &[0b1111_1000], 3, &[0], &[0]);
        bounded(Kind::Boolean, &[0xff, 0b1], 10, &[0], &[1]);
    }

    #[test]
    fn nan_is_a_bound_only_of_nothing_else() {
        let page = [f64::NAN, 0.0, -0.0].map(f64::to_le_bytes);
        let seen = bounded(Kind::Double, &bytes(&page), 3, &page[2], &page[1]);
        assert_eq!(seen.nans, 1);
        let page = [f32::NAN, -f32::NAN].map(f32::to_le_bytes);
        let nothing = bounded(Kind::Float, &bytes(&page), 2, &page[1], &page[0]);
        assert_eq!(nothing.nans, 2);
        let one = 1f32.to_le_bytes();
        let some = bounded(Kind::Float, &one, 1, &one, &one);
        for (mut first, second) in [(nothing.clone(), &some), (some.clone(), &nothing)] {
            first.merge(Kind::Float, second);
            assert_eq!((first.bounds, first.nans), (some.bounds.clone(), 2));
        }
    }

    #[test]
    fn other_counts_and_bytes_that_are_no_text_are_odd() {
        for (kind, page, count) in [
            (Kind::Int, &[0; 9][..], 2),
            (Kind::Int, &[0; 8], 3),
            (Kind::Boolean, &[0, 0], 8),
            (Kind::Text, &[1, 0, 0, 0], 1),
            (Kind::Text, &[1, 0, 0, 0, 0xff], 1),
            (Kind::Bytes, &[0, 0, 0, 0, 0], 1),
            (Kind::Bytes, &[0, 0, 0, 0], 2),
            (Kind::Bytes, &[0xff; 8], 1),
        ] {
            assert!(
                look(kind, page, count).is_err(),
                "{kind:?} {page:?} {count}"
            );
            if kind != Kind::Text || count != 1 {
                assert!(
                    starts(kind, page, count).is_err(),
                    "{kind:?} {page:?} {count}"
                );
            }
        }
        look(Kind::Bytes, &[1, 0, 0, 0, 0xff], 1).unwrap();
        assert!(starts(Kind::Bytes, &[0; 4], usize::MAX).is_err());
    }

    #[test]
    fn every_value_has_its_place() {
        let page = texts(&[b"ab", b"", b"c"]);
        let starts = starts(Kind::Text, &page, 3).unwrap();
        assert_eq!(starts, [0, 6, 10, 15]);
        assert_eq!(bare(Kind::Text, &page[10..15]), b"c");
    }
}
