//! Whether a file may hold a matching row, by its partition values and its columns' metrics.
//!
//! The rules are those of Java's `InclusiveMetricsEvaluator` and inclusive projections, with two
//! more doubts: NaN is never inside bounds, and a null struct nulls its fields without a count.

use std::cmp::Ordering;

use metadata::{DataFile, Literal, PartitionField, PartitionSpec, Transform};

use super::bind::{Bound, BoundNode, Column};
use super::{Comparison, Test};

impl Bound {
    /// `false` only when no row of the file can match. `spec` is the file's own.
    pub fn may_match(&self, file: &DataFile, spec: Option<&PartitionSpec>) -> bool {
        may_match(&self.node, file, spec)
    }
}

fn may_match(node: &BoundNode, file: &DataFile, spec: Option<&PartitionSpec>) -> bool {
    match node {
        BoundNode::All(nodes) => nodes.iter().all(|node| may_match(node, file, spec)),
        BoundNode::Any(nodes) => nodes.iter().any(|node| may_match(node, file, spec)),
        BoundNode::Test { column, test } => {
            let fields = spec.map_or(&[][..], |spec| &spec.fields);
            let partition = fields
                .iter()
                .zip(&file.partition)
                .filter(|(field, _)| field.source_id == column.id)
                .all(|(field, value)| by_partition(field, value.as_ref(), test));
            partition && by_metrics(file, column, test)
        }
    }
}

/// What one partition value, shared by all rows of the file, says.
fn by_partition(field: &PartitionField, value: Option<&Literal>, test: &Test<Literal>) -> bool {
    if matches!(field.transform, Transform::Void | Transform::Unknown(_)) {
        return true;
    }
    let Some(value) = value else {
        // Every transform of these makes null of null and of nothing else.
        return matches!(test, Test::IsNull);
    };
    match (test, &field.transform) {
        (Test::IsNull, _) => false,
        (Test::NotNull, _) => true,
        (_, Transform::Identity) => holds(value, test),
        (Test::Compare(Comparison::Eq, wanted), transform) => may_equal(transform, value, wanted),
        (Test::In(wanted), transform) => wanted
            .iter()
            .any(|wanted| may_equal(transform, value, wanted)),
        (Test::Compare(comparison, wanted), transform) => {
            may_compare(transform, value, *comparison, wanted)
        }
        (Test::StartsWith(Literal::String(prefix)), Transform::Truncate(width)) => {
            let Literal::String(value) = value else {
                return true;
            };
            let end = prefix
                .char_indices()
                .nth(*width as usize)
                .map_or(prefix.len(), |(at, _)| at);
            value.starts_with(&prefix[..end])
        }
        (Test::NotIn(_) | Test::StartsWith(_) | Test::NotStartsWith(_), _) => true,
    }
}

/// The test of one known value. Doubtful comparisons hold.
fn holds(value: &Literal, test: &Test<Literal>) -> bool {
    let compared = |wanted: &Literal| compare(value, wanted);
    match test {
        Test::Compare(comparison, wanted) => {
            compared(wanted).is_none_or(|order| agrees(*comparison, order))
        }
        Test::In(wanted) => wanted
            .iter()
            .any(|wanted| compared(wanted).is_none_or(Ordering::is_eq)),
        Test::NotIn(wanted) => !wanted
            .iter()
            .any(|wanted| compared(wanted).is_some_and(Ordering::is_eq)),
        Test::IsNull => false,
        Test::NotNull => true,
        Test::StartsWith(prefix) => starts_with(value, prefix).unwrap_or(true),
        Test::NotStartsWith(prefix) => !starts_with(value, prefix).unwrap_or(false),
    }
}

fn agrees(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Eq => order.is_eq(),
        Comparison::Ne => order.is_ne(),
        Comparison::Lt => order.is_lt(),
        Comparison::Le => order.is_le(),
        Comparison::Gt => order.is_gt(),
        Comparison::Ge => order.is_ge(),
    }
}

fn starts_with(value: &Literal, prefix: &Literal) -> Option<bool> {
    match (value, prefix) {
        (Literal::String(value), Literal::String(prefix)) => Some(value.starts_with(prefix)),
        _ => None,
    }
}

/// Whether a row equal to `wanted` can have the partition value `value`.
fn may_equal(transform: &Transform, value: &Literal, wanted: &Literal) -> bool {
    let Some(of_wanted) = transform.apply(wanted) else {
        return true;
    };
    match compare(value, &of_wanted) {
        Some(Ordering::Equal) | None => true,
        // Old Java versions placed times before 1970 one unit too high.
        Some(Ordering::Greater) => is_time(transform) && one_above(value, &of_wanted),
        Some(Ordering::Less) => false,
    }
}

/// The same for rows below or above `wanted`: every transform but bucket keeps the order.
fn may_compare(
    transform: &Transform,
    value: &Literal,
    comparison: Comparison,
    wanted: &Literal,
) -> bool {
    if matches!(transform, Transform::Bucket(_)) || wrapped(transform, value) {
        return true;
    }
    let Some(of_wanted) = transform.apply(wanted) else {
        return true;
    };
    let Some(order) = compare(value, &of_wanted) else {
        return true;
    };
    match comparison {
        Comparison::Eq | Comparison::Ne => true,
        Comparison::Lt | Comparison::Le => {
            order.is_le() || (is_time(transform) && one_above(value, &of_wanted))
        }
        Comparison::Gt | Comparison::Ge => order.is_ge() || wrapped(transform, &of_wanted),
    }
}

fn is_time(transform: &Transform) -> bool {
    matches!(
        transform,
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour
    )
}

/// `of_wanted` lies before 1970 and `value` is the next unit.
fn one_above(value: &Literal, of_wanted: &Literal) -> bool {
    matches!(
        (integer(value), integer(of_wanted)),
        (Some(value), Some(wanted)) if wanted < 0 && value == wanted + 1
    )
}

/// Truncating the very smallest integers wraps around to the very largest.
fn wrapped(transform: &Transform, value: &Literal) -> bool {
    let (Transform::Truncate(width), Some(number)) = (transform, integer(value)) else {
        return false;
    };
    let largest = if matches!(value, Literal::Long(_)) {
        i64::MAX
    } else {
        i64::from(i32::MAX)
    };
    number > largest - i64::from(*width)
}

/// What the bounds and counts of the column say.
fn by_metrics(file: &DataFile, column: &Column, test: &Test<Literal>) -> bool {
    let nulls = if column.nested {
        None
    } else {
        file.null_value_counts.get(&column.id)
    };
    let values = file.value_counts.get(&column.id);
    if matches!(test, Test::IsNull) {
        return nulls != Some(&0);
    }
    // Every other test is unknown, not true, of a null.
    if let (Some(nulls), Some(values)) = (nulls, values)
        && *values > 0
        && nulls >= values
    {
        return false;
    }
    let bounds = Bounds::of(file, column);
    match test {
        Test::IsNull | Test::NotNull | Test::NotIn(_) | Test::NotStartsWith(_) => true,
        Test::Compare(comparison, wanted) => bounds.allow(*comparison, wanted),
        Test::In(wanted) => wanted
            .iter()
            .any(|wanted| bounds.allow(Comparison::Eq, wanted)),
        Test::StartsWith(prefix) => bounds.allow_prefix(prefix),
    }
}

/// Limits of a column's values; they may be cut, so they need not occur themselves.
struct Bounds {
    lower: Option<Literal>,
    upper: Option<Literal>,
    /// The column is a float and may hold NaN, which is in no bounds.
    nan: bool,
}

impl Bounds {
    fn of(file: &DataFile, column: &Column) -> Self {
        let read = |bytes: &metadata::Bound| Literal::from_bytes(&column.ty, bytes).ok();
        let is_float =
            column.ty == metadata::Primitive::Float || column.ty == metadata::Primitive::Double;
        Self {
            lower: file.lower_bounds.get(&column.id).and_then(read),
            upper: file.upper_bounds.get(&column.id).and_then(read),
            nan: is_float && file.nan_value_counts.get(&column.id) != Some(&0),
        }
    }

    fn allow(&self, comparison: Comparison, wanted: &Literal) -> bool {
        let order = |bound: &Option<Literal>| bound.as_ref().and_then(|b| compare(b, wanted));
        let below = |or_equal: bool| {
            order(&self.lower).is_none_or(|o| o.is_lt() || (or_equal && o.is_eq()))
        };
        let above = |or_equal: bool| {
            order(&self.upper).is_none_or(|o| o.is_gt() || (or_equal && o.is_eq()))
        };
        match comparison {
            Comparison::Eq => below(true) && above(true),
            // Cut bounds do not show that all values are one.
            Comparison::Ne => true,
            Comparison::Lt => below(false) || self.nan,
            Comparison::Le => below(true) || self.nan,
            Comparison::Gt => above(false) || self.nan,
            Comparison::Ge => above(true) || self.nan,
        }
    }

    fn allow_prefix(&self, prefix: &Literal) -> bool {
        let lower = self.lower.as_ref().is_none_or(|lower| {
            compare(lower, prefix).is_none_or(Ordering::is_le)
                || starts_with(lower, prefix).unwrap_or(true)
        });
        let upper = self
            .upper
            .as_ref()
            .is_none_or(|upper| compare(upper, prefix).is_none_or(Ordering::is_ge));
        lower && upper
    }
}

/// The order of two values of one column, whatever width they were stored in; `None` when they
/// cannot be compared. Zeros are equal, NaN compares with nothing.
fn compare(a: &Literal, b: &Literal) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return Some(a.cmp(&b));
    }
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return a.partial_cmp(&b);
    }
    match (a, b) {
        (
            Literal::Decimal {
                unscaled: a,
                scale: a_scale,
            },
            Literal::Decimal {
                unscaled: b,
                scale: b_scale,
            },
        ) => (a_scale == b_scale).then(|| a.cmp(b)),
        (Literal::Boolean(_), Literal::Boolean(_))
        | (Literal::Time(_), Literal::Time(_))
        | (Literal::Timestamp(_), Literal::Timestamp(_))
        | (Literal::Timestamptz(_), Literal::Timestamptz(_))
        | (Literal::TimestampNs(_), Literal::TimestampNs(_))
        | (Literal::TimestamptzNs(_), Literal::TimestamptzNs(_))
        | (Literal::String(_), Literal::String(_)) => Some(a.cmp(b)),
        // Java ordered UUIDs as signed numbers, so bounds say nothing about other values.
        (Literal::Uuid(_), Literal::Uuid(_)) => (a == b).then_some(Ordering::Equal),
        _ => None,
    }
}

fn integer(value: &Literal) -> Option<i64> {
    match value {
        Literal::Int(number) | Literal::Date(number) => Some(i64::from(*number)),
        Literal::Long(number) => Some(*number),
        _ => None,
    }
}

fn float(value: &Literal) -> Option<f64> {
    match value {
        Literal::Float(number) => Some(f64::from(*number)),
        Literal::Double(number) => Some(*number),
        _ => None,
    }
}
