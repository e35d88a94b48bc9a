//! A data file's metrics, taken from the footer just written.
//!
//! Rules of the specification: counts by field id; bounds in single-value serialization, cut
//! as the table asks, an upper bound cut only upwards; none for values below lists and maps.

use std::cmp::Ordering;

use metadata::{DataFile, Primitive};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::properties::MetricsMode;
use super::schema::{Leaf, WriteSchema};

/// Fills the metrics of `file` in from its footer.
pub(crate) fn fill_metrics(
    file: &mut DataFile,
    footer: &ParquetMetaData,
    schema: &WriteSchema,
    modes: &[MetricsMode],
) {
    for (index, (leaf, mode)) in schema.leaves.iter().zip(modes).enumerate() {
        let mut column = LeafMetrics::default();
        for group in footer.row_groups() {
            let chunk = group.column(index);
            column.bytes += chunk.compressed_size();
            column.values += chunk.num_values();
            column.add(chunk.statistics(), chunk.num_values(), &leaf.ty);
        }
        column.store(file, leaf, *mode);
    }
    file.split_offsets = Some(
        footer
            .row_groups()
            .iter()
            .filter_map(row_group_offset)
            .collect(),
    );
}

fn row_group_offset(group: &parquet::file::metadata::RowGroupMetaData) -> Option<i64> {
    let first = group.columns().first()?;
    Some(
        first
            .dictionary_page_offset()
            .map_or(first.data_page_offset(), |offset| {
                offset.min(first.data_page_offset())
            }),
    )
}

/// One leaf over all row groups of a file.
#[derive(Debug, Default)]
struct LeafMetrics {
    bytes: i64,
    values: i64,
    nulls: i64,
    nans: Option<i64>,
    /// A row group without statistics makes the counts of nulls and the bounds unknown.
    unknown: bool,
    lower: Option<Value>,
    upper: Option<Value>,
    /// A row group had values but no bounds.
    unbounded: bool,
}

impl LeafMetrics {
    fn add(&mut self, statistics: Option<&Statistics>, count: i64, ty: &Primitive) {
        let Some(statistics) = statistics else {
            self.unknown = true;
            return;
        };
        let Some(nulls) = statistics.null_count_opt() else {
            self.unknown = true;
            return;
        };
        let nulls = nulls as i64;
        let nans = statistics.nan_count_opt().unwrap_or(0) as i64;
        self.nulls += nulls;
        if matches!(ty, Primitive::Float | Primitive::Double) {
            *self.nans.get_or_insert(0) += nans;
        }
        let (lower, upper) = values(statistics, ty);
        self.unbounded |= lower.is_none() && nulls + nans < count;
        // A row group of nulls or of NaNs only has no bounds and does not need them.
        self.lower = pick(self.lower.take(), lower, Ordering::Less);
        self.upper = pick(self.upper.take(), upper, Ordering::Greater);
    }

    fn store(self, file: &mut DataFile, leaf: &Leaf, mode: MetricsMode) {
        let id = leaf.field_id;
        file.column_sizes.insert(id, self.bytes);
        if mode == MetricsMode::None {
            return;
        }
        file.value_counts.insert(id, self.values);
        if self.unknown {
            return;
        }
        file.null_value_counts.insert(id, self.nulls);
        if let Some(nans) = self.nans {
            file.nan_value_counts.insert(id, nans);
        }
        if mode == MetricsMode::Counts || leaf.repeated || self.unbounded {
            return;
        }
        let length = if let MetricsMode::Truncate(length) = mode {
            Some(length)
        } else {
            None
        };
        if let Some(lower) = self.lower {
            file.lower_bounds
                .insert(id, lower.lower_bound(&leaf.ty, length).into());
        }
        if let Some(upper) = self
            .upper
            .and_then(|upper| upper.upper_bound(&leaf.ty, length))
        {
            file.upper_bounds.insert(id, upper.into());
        }
    }
}

fn pick(kept: Option<Value>, new: Option<Value>, wanted: Ordering) -> Option<Value> {
    match (kept, new) {
        (Some(kept), Some(new)) => Some(if new.order(&kept) == wanted {
            new
        } else {
            kept
        }),
        (kept, new) => kept.or(new),
    }
}

/// One bound as a value that can be compared.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    Bytes(Vec<u8>),
}

fn values(statistics: &Statistics, ty: &Primitive) -> (Option<Value>, Option<Value>) {
    macro_rules! both {
        ($statistics:expr, $make:expr) => {
            (
                $statistics.min_opt().and_then($make),
                $statistics.max_opt().and_then($make),
            )
        };
    }
    let decimal = matches!(ty, Primitive::Decimal { .. });
    match statistics {
        Statistics::Boolean(s) => both!(s, |v| Some(Value::Boolean(*v))),
        Statistics::Int32(s) if decimal => both!(s, |v| Some(Value::Decimal(i128::from(*v)))),
        Statistics::Int64(s) if decimal => both!(s, |v| Some(Value::Decimal(i128::from(*v)))),
        Statistics::Int32(s) => both!(s, |v| Some(Value::Int(*v))),
        Statistics::Int64(s) => both!(s, |v| Some(Value::Long(*v))),
        Statistics::Int96(_) => (None, None),
        Statistics::Float(s) => both!(s, |v| (!v.is_nan()).then_some(Value::Float(*v))),
        Statistics::Double(s) => both!(s, |v| (!v.is_nan()).then_some(Value::Double(*v))),
        Statistics::ByteArray(s) => both!(s, |v| Some(Value::Bytes(v.data().to_vec()))),
        Statistics::FixedLenByteArray(s) if decimal => both!(s, |v| signed_value(v.data())),
        Statistics::FixedLenByteArray(s) => both!(s, |v| Some(Value::Bytes(v.data().to_vec()))),
    }
}

/// Two's complement, big endian, at most 16 bytes.
fn signed_value(bytes: &[u8]) -> Option<Value> {
    let mut whole = [if bytes.first()? & 0x80 == 0 { 0 } else { 0xff }; 16];
    let start = whole.len().checked_sub(bytes.len())?;
    whole[start..].copy_from_slice(bytes);
    Some(Value::Decimal(i128::from_be_bytes(whole)))
}

impl Value {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Long(a), Self::Long(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }

    fn lower_bound(self, ty: &Primitive, length: Option<usize>) -> Vec<u8> {
        match (self, length) {
            (Self::Bytes(bytes), Some(length)) => match ty {
                Primitive::String => cut_text(&bytes, length).to_vec(),
                Primitive::Binary | Primitive::Fixed(_) => {
                    bytes[..bytes.len().min(length)].to_vec()
                }
                _ => bytes,
            },
            (other, _) => other.serialize(),
        }
    }

    /// `None` when no cut value is above all values: then there is no upper bound.
    fn upper_bound(self, ty: &Primitive, length: Option<usize>) -> Option<Vec<u8>> {
        match (self, length) {
            (Self::Bytes(bytes), Some(length)) => match ty {
                Primitive::String => {
                    let cut = cut_text(&bytes, length);
                    if cut.len() == bytes.len() {
                        Some(bytes)
                    } else {
                        next_text(cut)
                    }
                }
                Primitive::Binary | Primitive::Fixed(_) => {
                    if bytes.len() <= length {
                        Some(bytes)
                    } else {
                        next_bytes(&bytes[..length])
                    }
                }
                _ => Some(bytes),
            },
            (other, _) => Some(other.serialize()),
        }
    }

    /// Iceberg's single-value serialization.
    fn serialize(self) -> Vec<u8> {
        match self {
            Self::Boolean(value) => vec![u8::from(value)],
            Self::Int(value) => value.to_le_bytes().to_vec(),
            Self::Long(value) => value.to_le_bytes().to_vec(),
            Self::Float(value) => value.to_le_bytes().to_vec(),
            Self::Double(value) => value.to_le_bytes().to_vec(),
            Self::Decimal(value) => minimal_bytes(value),
            Self::Bytes(value) => value,
        }
    }
}

/// The fewest bytes of two's complement, big endian.
fn minimal_bytes(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < bytes.len() - 1 && bytes[start] == fill && (bytes[start + 1] ^ fill) & 0x80 == 0 {
        start += 1;
    }
    bytes[start..].to_vec()
}

/// The first `length` characters.
fn cut_text(bytes: &[u8], length: usize) -> &[u8] {
    let mut characters = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let starts_character = byte & 0xc0 != 0x80;
        if starts_character {
            if characters == length {
                return &bytes[..index];
            }
            characters += 1;
        }
    }
    bytes
}

/// The smallest text above every text that begins with `prefix`, as Java computes it: the last
/// character that can be is raised, what follows is dropped.
fn next_text(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut text = std::str::from_utf8(prefix).ok()?.to_owned();
    while let Some(last) = text.pop() {
        let above = match u32::from(last) + 1 {
            0xd800 => 0xe000,
            above => above,
        };
        if let Some(above) = char::from_u32(above) {
            text.push(above);
            return Some(text.into_bytes());
        }
    }
    None
}

fn next_bytes(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut bytes = prefix[..=last].to_vec();
    bytes[last] += 1;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(text: &str, length: usize) -> Option<String> {
        let bound = Value::Bytes(text.into()).upper_bound(&Primitive::String, Some(length))?;
        Some(String::from_utf8(bound).unwrap())
    }

    #[test]
    fn an_upper_bound_that_is_cut_is_raised() {
        assert_eq!(upper("abc", 16).as_deref(), Some("abc"));
        assert_eq!(upper("abcd", 3).as_deref(), Some("abd"));
        assert_eq!(upper("größer", 4).as_deref(), Some("gröà"));
        // The last character cannot be raised, the one before can.
        assert_eq!(upper("a\u{10ffff}x", 2).as_deref(), Some("b"));
        assert_eq!(upper("\u{10ffff}x", 1), None);
        // Surrogates are not characters.
        assert_eq!(upper("\u{d7ff}x", 1).as_deref(), Some("\u{e000}"));
    }

    #[test]
    fn an_upper_bound_of_bytes_that_is_cut_is_raised() {
        let upper =
            |bytes: &[u8]| Value::Bytes(bytes.into()).upper_bound(&Primitive::Binary, Some(2));
        assert_eq!(upper(&[1, 2]), Some(vec![1, 2]));
        assert_eq!(upper(&[1, 2, 3]), Some(vec![1, 3]));
        assert_eq!(upper(&[1, 0xff, 3]), Some(vec![2]));
        assert_eq!(upper(&[0xff, 0xff, 3]), None);
    }

    #[test]
    fn a_lower_bound_is_cut_to_characters_not_bytes() {
        let lower = Value::Bytes("größer".into()).lower_bound(&Primitive::String, Some(4));
        assert_eq!(lower, "größ".as_bytes());
    }

    #[test]
    fn decimals_are_stored_in_the_fewest_bytes() {
        for (value, want) in [
            (0, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0, 0x80]),
            (-1, vec![0xff]),
            (-128, vec![0x80]),
            (-129, vec![0xff, 0x7f]),
        ] {
            assert_eq!(minimal_bytes(value), want, "{value}");
            assert_eq!(signed_value(&want), Some(Value::Decimal(value)));
        }
    }
}
