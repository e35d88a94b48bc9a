//! Rows in any order come out as a plain sort puts them, whatever memory there is.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Decimal128Array, Float64Array, Int64Array, StringViewArray,
};
use metadata::{Field, Primitive, Schema, StructType, Transform, Type};
use planner::Spilled;
use planner::rewrite::{SortKey, Sorting, ZorderColumn};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::sorter::{Means, Sorter};
use crate::files::schema::WriteSchema;

const COLUMNS: [&str; 6] = ["id", "number", "ratio", "name", "price", "blob"];

/// One row: what it is known by, and a value of each type that may be null.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    number: Option<i64>,
    ratio: Option<f64>,
    name: Option<String>,
    price: Option<i128>,
    blob: Option<Vec<u8>>,
}

fn schema() -> WriteSchema {
    let types = [
        Primitive::Long,
        Primitive::Long,
        Primitive::Double,
        Primitive::String,
        Primitive::Decimal {
            precision: 30,
            scale: 2,
        },
        Primitive::Binary,
    ];
    let fields = (1..).zip(COLUMNS).zip(types);
    let fields = fields.map(|((id, name), ty)| Field::new(id, name, id == 1, Type::Primitive(ty)));
    let root = StructType {
        fields: fields.collect(),
    };
    let schema = Schema {
        schema_id: 0,
        root,
        identifier_field_ids: Vec::new(),
    };
    WriteSchema::new(&Arc::new(schema)).unwrap()
}

fn arrays(rows: &[Row]) -> Vec<ArrayRef> {
    let prices = rows.iter().map(|row| row.price);
    let prices = prices.collect::<Decimal128Array>();
    let rows = || rows.iter();
    vec![
        Arc::new(rows().map(|row| Some(row.id)).collect::<Int64Array>()),
        Arc::new(rows().map(|row| row.number).collect::<Int64Array>()),
        Arc::new(rows().map(|row| row.ratio).collect::<Float64Array>()),
        Arc::new(
            rows()
                .map(|row| row.name.as_ref())
                .collect::<StringViewArray>(),
        ),
        Arc::new(prices.with_precision_and_scale(30, 2).unwrap()),
        Arc::new(
            rows()
                .map(|row| row.blob.as_deref())
                .collect::<BinaryViewArray>(),
        ),
    ]
}

fn key(column: usize, descending: bool, nulls_first: bool) -> SortKey {
    SortKey {
        field_id: column as i32 + 1,
        column: COLUMNS[column].to_owned(),
        transform: "identity".to_owned(),
        descending,
        nulls_first,
    }
}

fn sort(keys: Vec<SortKey>) -> Sorting {
    Sorting::Sort {
        keys,
        sort_order_id: 0,
    }
}

fn means(held_bytes: u64, read_bytes: u64) -> Means {
    Means {
        folder: std::env::temp_dir().into(),
        held_bytes,
        read_bytes,
        steps: Arc::default(),
        stop: CancellationToken::new(),
    }
}

/// Sorts the rows, read so many at a time; their columns, all batches together.
fn sorted(
    sorting: &Sorting,
    rows: &[Row],
    at_once: usize,
    means: Means,
) -> (Vec<Vec<ArrayRef>>, Spilled) {
    let mut taking = Sorter::new(sorting, &schema(), means).unwrap();
    for rows in rows.chunks(at_once) {
        taking.add(&arrays(rows)).unwrap();
    }
    let mut sorted = taking.finish().unwrap();
    let mut batches = Vec::new();
    loop {
        let batch = sorted.batch(at_once, usize::MAX).unwrap();
        if batch[0].is_empty() {
            return (batches, sorted.spilled);
        }
        batches.push(batch);
    }
}

fn ids(batches: &[Vec<ArrayRef>]) -> Vec<i64> {
    let ids = batches.iter().flat_map(|batch| {
        let ids = batch[0].as_primitive::<Int64Type>();
        ids.values().to_vec()
    });
    ids.collect()
}

/// As the specification orders values; all NaN are one.
fn compare(a: &Row, b: &Row, column: usize) -> (Option<Ordering>, bool) {
    fn of<T>(
        a: Option<T>,
        b: Option<T>,
        by: impl Fn(&T, &T) -> Ordering,
    ) -> (Option<Ordering>, bool) {
        match (a, b) {
            (Some(a), Some(b)) => (Some(by(&a, &b)), false),
            (a, b) => (None, a.is_none() && b.is_none()),
        }
    }
    let nan = |value: f64| if value.is_nan() { f64::NAN } else { value };
    match column {
        0 => of(Some(a.id), Some(b.id), Ord::cmp),
        1 => of(a.number, b.number, Ord::cmp),
        2 => of(a.ratio.map(nan), b.ratio.map(nan), f64::total_cmp),
        3 => of(a.name.as_deref(), b.name.as_deref(), |a, b| {
            a.as_bytes().cmp(b.as_bytes())
        }),
        4 => of(a.price, b.price, Ord::cmp),
        _ => of(a.blob.as_deref(), b.blob.as_deref(), Ord::cmp),
    }
}

fn by_keys(keys: &[SortKey], a: &Row, b: &Row) -> Ordering {
    let one = |key: &SortKey| {
        let column = key.field_id as usize - 1;
        let a_is_null = compare(a, a, column).1;
        match compare(a, b, column) {
            (Some(order), _) if key.descending => order.reverse(),
            (Some(order), _) => order,
            (None, true) => Ordering::Equal,
            (None, false) if a_is_null == key.nulls_first => Ordering::Less,
            (None, false) => Ordering::Greater,
        }
    };
    let orders = keys.iter().map(one);
    orders.fold(Ordering::Equal, Ordering::then)
}

fn any_row() -> impl Strategy<Value = Row> {
    let ratios = prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::NEG_INFINITY),
        any::<f64>(),
    ];
    let text = prop_oneof![
        "[ab]{0,3}",
        "the same beginning of it all [a-c]{0,40}",
        ".{0,8}"
    ];
    (
        prop::option::of(-3_i64..3),
        prop::option::of(ratios),
        prop::option::of(text),
        prop::option::of(prop_oneof![
            -5_i128..5,
            Just(10_i128.pow(29)),
            Just(-(10_i128.pow(29)))
        ]),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
    )
        .prop_map(|(number, ratio, name, price, blob)| Row {
            id: 0,
            number,
            ratio,
            name,
            price,
            blob,
        })
}

fn any_keys() -> impl Strategy<Value = Vec<SortKey>> {
    let one = (1_usize..6, any::<bool>(), any::<bool>());
    let one =
        one.prop_map(|(column, descending, nulls_first)| key(column, descending, nulls_first));
    prop::collection::vec(one, 1..4)
}

proptest! {
    #[test]
    fn rows_come_out_as_a_stable_sort_puts_them(
        mut rows in prop::collection::vec(any_row(), 0..300),
        keys in any_keys(),
        at_once in 1_usize..60,
        held_bytes in prop_oneof![Just(1_u64), 1_u64..20_000, Just(u64::MAX)],
    ) {
        for (id, row) in (0..).zip(&mut rows) {
            row.id = id;
        }
        let (batches, spilled) = sorted(&sort(keys.clone()), &rows, at_once, means(held_bytes, 0));
        prop_assert_eq!(spilled.runs > 0, spilled.bytes > 0);
        if held_bytes == 1 {
            prop_assert!(spilled.runs >= (rows.len() / at_once) as u64 - u64::from(rows.len() / at_once == 1));
        }
        let mut want = rows.clone();
        want.sort_by(|a, b| by_keys(&keys, a, b));
        let got = ids(&batches);
        prop_assert_eq!(&got, &want.iter().map(|row| row.id).collect::<Vec<_>>());
        // Every value is the one it was, to the bit.
        for (batch, want) in batches.iter().zip(want.chunks(at_once)) {
            for (got, want) in batch.iter().zip(arrays(want)) {
                prop_assert_eq!(format!("{got:?}"), format!("{want:?}"));
            }
            let bits = |array: &ArrayRef| -> Vec<Option<u64>> {
                let array = array.as_primitive::<arrow_array::types::Float64Type>();
                array.iter().map(|value| value.map(f64::to_bits)).collect()
            };
            prop_assert_eq!(bits(&batch[2]), bits(&arrays(want)[2]));
        }
    }

    /// Keys that are transforms are those of partitions.
    #[test]
    fn a_transform_of_a_column_is_what_is_compared(
        mut rows in prop::collection::vec(any_row(), 0..60),
        transform in prop_oneof![Just((1, "bucket[4]")), Just((3, "bucket[3]")), Just((3, "truncate[1]")),
            Just((1, "truncate[2]")), Just((4, "truncate[3]")), Just((5, "truncate[2]"))],
    ) {
        for (id, row) in (0..).zip(&mut rows) {
            row.id = id;
        }
        let (column, text) = transform;
        let key = SortKey { transform: text.to_owned(), ..key(column, false, true) };
        let (batches, _) = sorted(&sort(vec![key]), &rows, 7, means(500, 0));
        let transform = Transform::parse(text);
        let value = |row: &Row| {
            use metadata::Literal as L;
            let value = match column {
                1 => row.number.map(L::Long),
                3 => row.name.clone().map(L::String),
                4 => row.price.map(|unscaled| L::Decimal { unscaled, scale: 2 }),
                _ => row.blob.clone().map(L::Binary),
            };
            value.and_then(|value| transform.apply(&value))
        };
        rows.sort_by_key(value);
        prop_assert_eq!(ids(&batches), rows.iter().map(|row| row.id).collect::<Vec<_>>());
    }
}

/// Two runs are merged at once here, so that a level fills up with every second one.
#[test]
fn runs_of_runs_keep_the_order_of_equal_rows() {
    let row = |id: i64| Row {
        id,
        number: Some(id % 3),
        ratio: None,
        name: None,
        price: None,
        blob: None,
    };
    let rows: Vec<Row> = (0..1000).map(row).collect();
    let (batches, spilled) = sorted(&sort(vec![key(1, true, true)]), &rows, 10, means(1, 0));
    assert!(spilled.runs > 190, "{spilled:?}");
    let mut want: Vec<i64> = (0..1000).collect();
    want.sort_by_key(|id| std::cmp::Reverse(id % 3));
    assert_eq!(ids(&batches), want);
    // As many at once as there are: each is written once.
    let (_, spilled) = sorted(
        &sort(vec![key(1, true, true)]),
        &rows,
        10,
        means(1, 1 << 30),
    );
    assert_eq!(spilled.runs, 100);
}

#[test]
fn a_stop_is_heard_and_a_folder_that_is_not_there_is_named() {
    let rows = [Row {
        id: 1,
        number: None,
        ratio: None,
        name: None,
        price: None,
        blob: None,
    }];
    let sorting = sort(vec![key(1, false, true)]);
    let mut gone = means(1, 0);
    gone.folder = std::path::Path::new("/no/such/folder").into();
    let mut sorter = Sorter::new(&sorting, &schema(), gone).unwrap();
    sorter.add(&arrays(&rows)).unwrap();
    let error = sorter.add(&arrays(&rows)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("temporary file in /no/such/folder"),
        "{error}"
    );
    assert_eq!(error.advice(), model::Advice::RetryLater);
    let stopped = means(1, 0);
    stopped.stop.cancel();
    let mut sorter = Sorter::new(&sorting, &schema(), stopped).unwrap();
    assert!(matches!(
        sorter.add(&arrays(&rows)),
        Err(crate::Error::Stopped)
    ));
}

#[test]
fn rows_near_each_other_in_all_columns_come_near_each_other() {
    let row = |id: i64| Row {
        id,
        number: Some(id % 16),
        ratio: None,
        name: None,
        price: Some(i128::from(id / 16)),
        blob: None,
    };
    let rows: Vec<Row> = (0..256).map(row).collect();
    let column = |column: usize| ZorderColumn {
        field_id: column as i32 + 1,
        column: COLUMNS[column].to_owned(),
    };
    let sorting = Sorting::Zorder {
        columns: vec![column(1), column(4)],
        var_length_bytes: 8,
        value_bytes_max: None,
    };
    let (batches, _) = sorted(&sorting, &rows, 100, means(1, 0));
    // The quarters of the square follow one another, and the quarters of each of them.
    let ids = ids(&batches);
    for quarter in ids.chunks(64) {
        let same = |of: fn(i64) -> i64| quarter.iter().all(|id| of(*id) == of(quarter[0]));
        assert!(
            same(|id| id % 16 / 8) && same(|id| id / 16 / 8),
            "{quarter:?}"
        );
    }
    assert_eq!(ids[..4], [0, 16, 1, 17]);
}
