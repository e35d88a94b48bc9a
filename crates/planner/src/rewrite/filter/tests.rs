//! The expression language, and the promise that no matching row is ever left out.

use std::cmp::Ordering;

use metadata::{
    ColumnMap, Content, DataFile, Field, Literal, PartitionField, PartitionSpec, Primitive, Schema,
    StructType, Transform, Type,
};
use proptest::prelude::*;

use super::bind::BoundNode;
use super::{Comparison, Error, Filter, Test};

fn schema() -> Schema {
    let field = |id, name: &str, ty| Field::new(id, name, false, Type::Primitive(ty));
    let inner = StructType {
        fields: vec![field(6, "x", Primitive::Int)],
    };
    Schema {
        schema_id: 0,
        root: StructType {
            fields: vec![
                field(1, "n", Primitive::Int),
                field(2, "s", Primitive::String),
                field(3, "d", Primitive::Double),
                field(4, "t", Primitive::Timestamp),
                Field::new(5, "st", false, Type::Struct(inner)),
                field(7, "odd name", Primitive::Uuid),
                field(8, "raw", Primitive::Binary),
            ],
        },
        identifier_field_ids: Vec::new(),
    }
}

#[track_caller]
fn refused(text: &str, want: &str) {
    let error = Filter::parse(text).and_then(|filter| filter.bind(&schema()).map(|_| ()));
    let error = error.expect_err(text).to_string();
    assert!(error.contains(want), "{text}: {error}");
}

#[test]
fn what_cannot_be_read_is_refused_with_the_place() {
    refused(
        "",
        "character 1: a column, `not` or `(` expected, found the end",
    );
    refused(
        "n",
        "character 2: a comparison, `in`, `is` or `like` expected, found the end",
    );
    refused("n = ", "character 5: a number");
    refused("n = null", "for null write `is null`");
    refused(
        "n = 1 n = 2",
        "character 7: `and`, `or` or the end expected, found `n`",
    );
    refused("(n = 1", "`)` expected");
    refused("n in ()", "character 7");
    refused("s = 'open", "character 5: a closing quote expected");
    refused("s like '%end'", "'prefix%'");
    refused("s like 'a_c%'", "'prefix%'");
    refused("n = 1x", "a number expected, found `1x`");
    refused("n ; 1", "character 3");
    refused("é = 1", "unknown column `é`");
    refused(&"(".repeat(60), "nests deeper than 50 levels");
    refused(
        &format!("s = '{}'", "x".repeat(10_000)),
        "longer than 10000 bytes",
    );
}

#[test]
fn an_unknown_column_is_named_with_the_columns_there_are() {
    refused(
        "m = 1",
        "unknown column `m`; the columns are n, s, d, t, st.x, st, odd name, raw",
    );
}

#[test]
fn a_literal_must_be_of_the_columns_type() {
    refused(
        "n = '1'",
        "column `n` is int: `1` is no whole number that fits int",
    );
    refused("n in (1, 2.5)", "`2.5` is no whole number");
    refused("t > 'yesterday'", "is no 'YYYY-MM-DD HH:MM:SS'");
    refused("s = 1", "is no 'text'");
    refused("d = true", "is no number");
    refused("st is null", "only columns of primitive types");
    refused("raw = 'x'", "only `is null` and `is not null`");
    refused("n like '1%'", "`like` needs a string");
    refused(
        "\"odd name\" < 'f79c3e09-677c-4bbd-a479-3f349cb785e7'",
        "only =, !=",
    );
}

#[test]
fn everything_the_language_has_is_accepted() {
    for text in [
        "n = 1",
        "N_0 is null or n <> -5 AND n != +5",
        "not (n < 1 or n >= 2) and n in (1,2 , 3)",
        "n not in (1) and s not like 'a%' and s like 'it''s%'",
        "`odd name` = 'f79c3e09-677c-4bbd-a479-3f349cb785e7'",
        "\"odd name\" is not null and raw is null and st.x <= 3",
        "t >= '2026-01-01' and t < '2026-01-02 12:00:00.5' and d > 1e-3",
    ] {
        let mut schema = schema();
        schema.root.fields.push(Field::new(
            9,
            "N_0",
            false,
            Type::Primitive(Primitive::Boolean),
        ));
        let bound = Filter::parse(text).and_then(|filter| filter.bind(&schema));
        assert!(bound.is_ok(), "{text}: {bound:?}");
    }
}

/// A file of one column `n` (or `s`) with the given bounds.
fn bounded(id: i32, lower: &Literal, upper: &Literal, nulls: i64) -> DataFile {
    DataFile {
        value_counts: ColumnMap::from_iter([(id, 10)]),
        null_value_counts: ColumnMap::from_iter([(id, nulls)]),
        lower_bounds: ColumnMap::from_iter([(id, lower.to_bytes().into())]),
        upper_bounds: ColumnMap::from_iter([(id, upper.to_bytes().into())]),
        ..DataFile::new(Content::Data, "f")
    }
}

#[track_caller]
fn check(file: &DataFile, spec: Option<&PartitionSpec>, kept: &[&str], left_out: &[&str]) {
    let may_match = |text: &str| {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter
            .bind(&schema())
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .may_match(file, spec)
    };
    for text in kept {
        assert!(may_match(text), "{text}: left out");
    }
    for text in left_out {
        assert!(!may_match(text), "{text}: kept");
    }
}

#[test]
fn bounds_leave_files_out() {
    let file = bounded(1, &Literal::Int(10), &Literal::Int(20), 0);
    check(
        &file,
        None,
        &[
            "n = 10",
            "n = 20",
            "n < 11",
            "n <= 10",
            "n > 19",
            "n >= 20",
            "n in (1, 15)",
            "n != 10",
        ],
        &[
            "n = 9",
            "n = 21",
            "n < 10",
            "n <= 9",
            "n > 20",
            "n >= 21",
            "n in (1, 30)",
            "n is null",
        ],
    );
    check(
        &file,
        None,
        &["not n < 20", "not (n = 9 or n = 8)"],
        &["not n < 21", "n = 9 or n = 8"],
    );
    check(
        &file,
        None,
        &["n is null or n = 15"],
        &["n = 15 and n is null", "not n is not null"],
    );
}

#[test]
fn cut_text_bounds_still_hold() {
    let file = bounded(
        2,
        &Literal::String("ab".into()),
        &Literal::String("ad".into()),
        0,
    );
    check(
        &file,
        None,
        &[
            "s = 'abz'",
            "s like 'a%'",
            "s like 'abc%'",
            "s like 'acx%'",
            "s not like 'a%'",
            "s like '%'",
        ],
        &[
            "s = 'aa'",
            "s like 'aa%'",
            "s like 'ae%'",
            "s like 'b%'",
            "s > 'ad'",
        ],
    );
}

#[test]
fn files_of_nulls_only_match_is_null() {
    let file = DataFile {
        lower_bounds: ColumnMap::new(),
        upper_bounds: ColumnMap::new(),
        ..bounded(1, &Literal::Int(0), &Literal::Int(0), 10)
    };
    check(
        &file,
        None,
        &["n is null"],
        &["n is not null", "n = 0", "n != 0", "n not in (1)"],
    );
}

#[test]
fn a_missing_fact_keeps_the_file() {
    let file = DataFile::new(Content::Data, "f");
    check(
        &file,
        None,
        &[
            "n = 1",
            "n is null",
            "n is not null",
            "s like 'x%'",
            "st.x is null",
        ],
        &[],
    );
    let mut broken = bounded(1, &Literal::Int(10), &Literal::Int(20), 0);
    broken.lower_bounds.insert(1, vec![1, 2, 3].into());
    check(&broken, None, &["n = 1"], &["n = 21"]);
    // A null struct nulls its fields, which no count shows.
    let nested = bounded(6, &Literal::Int(10), &Literal::Int(20), 0);
    check(&nested, None, &["st.x is null", "st.x = 15"], &["st.x = 9"]);
}

#[test]
fn nan_is_in_no_bounds_and_zeros_are_equal() {
    let mut file = bounded(3, &Literal::Double(-0.0), &Literal::Double(-0.0), 0);
    check(&file, None, &["d = 0", "d > 5"], &["d = 1"]);
    file.nan_value_counts.insert(3, 0);
    check(&file, None, &["d = 0"], &["d > 5", "d < -1"]);
}

fn spec(source_id: i32, transform: Transform) -> PartitionSpec {
    let field = PartitionField {
        source_id,
        field_id: 1000,
        name: "p".into(),
        transform,
    };
    PartitionSpec {
        spec_id: 0,
        fields: vec![field],
    }
}

fn placed(value: Option<Literal>) -> DataFile {
    DataFile {
        partition: vec![value],
        ..DataFile::new(Content::Data, "f")
    }
}

#[test]
fn partition_values_leave_files_out() {
    let identity = spec(1, Transform::Identity);
    let file = placed(Some(Literal::Int(7)));
    check(
        &file,
        Some(&identity),
        &["n = 7", "n != 8", "n < 8"],
        &["n = 8", "n != 7", "n is null"],
    );
    check(
        &placed(None),
        Some(&identity),
        &["n is null"],
        &["n = 7", "n is not null"],
    );

    let truncate = spec(2, Transform::Truncate(2));
    let file = placed(Some(Literal::String("ab".into())));
    check(
        &file,
        Some(&truncate),
        &[
            "s = 'abc'",
            "s like 'a%'",
            "s like 'abz%'",
            "s < 'abc'",
            "s > 'abc'",
            "s != 'ab'",
        ],
        &[
            "s = 'b'",
            "s like 'b%'",
            "s like 'acb%'",
            "s < 'aa'",
            "s > 'ac'",
        ],
    );
}

#[test]
fn partition_values_of_times_and_buckets_leave_files_out() {
    let day = spec(4, Transform::Day);
    let file = placed(Some(Literal::Date(1)));
    check(
        &file,
        Some(&day),
        &[
            "t = '1970-01-02 13:00:00'",
            "t < '1970-01-02 01:00:00'",
            "t >= '1970-01-02 23:00:00'",
        ],
        &[
            "t = '1970-01-03'",
            "t < '1970-01-01 23:00:00'",
            "t >= '1970-01-03'",
        ],
    );

    let bucket = spec(1, Transform::Bucket(4));
    let of_seven = Transform::Bucket(4).apply(&Literal::Int(7));
    let other = Some(Literal::Int(
        (0..4).find(|b| Some(Literal::Int(*b)) != of_seven).unwrap(),
    ));
    check(
        &placed(of_seven),
        Some(&bucket),
        &["n = 7", "n in (7)", "n < 7"],
        &["n is null"],
    );
    check(
        &placed(other),
        Some(&bucket),
        &["n != 7", "n > 7"],
        &["n = 7", "n in (7)"],
    );

    let void = spec(1, Transform::Void);
    check(&placed(None), Some(&void), &["n = 7", "n is null"], &[]);
}

#[test]
fn errors_say_which_option_part_is_wrong() {
    let error = Filter::parse("n == 1").unwrap_err();
    assert!(matches!(error, Error::Syntax { at: 4, .. }), "{error:?}");
}

/// One row: n, s, d, t.
type Row = [Option<Literal>; 4];

fn any_row() -> impl Strategy<Value = Row> {
    let maybe = |literal: BoxedStrategy<Literal>| prop::option::weighted(0.85, literal);
    let doubles = prop_oneof![
        (-4i32..4).prop_map(|n| f64::from(n) / 2.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
    ];
    let ints = prop_oneof![9 => -6i32..6, 1 => Just(i32::MIN), 1 => Just(i32::MAX)];
    let (n, s) = (
        ints.prop_map(Literal::Int),
        "[ab]{0,4}".prop_map(Literal::String),
    );
    let t = (-60i64..60).prop_map(|hours| Literal::Timestamp(hours * 3_600_000_000));
    (
        maybe(n.boxed()),
        maybe(s.boxed()),
        maybe(doubles.prop_map(Literal::Double).boxed()),
        maybe(t.boxed()),
    )
        .prop_map(|(n, s, d, t)| [n, s, d, t])
}

fn any_expression() -> impl Strategy<Value = String> {
    let comparison = || prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let number = || (-7i32..7).prop_map(|n| n.to_string());
    let half = (-4i32..4).prop_map(|n| (f64::from(n) / 2.0).to_string());
    let text = || "[ab]{0,3}".prop_map(|text| format!("'{text}'"));
    let time = || {
        (-60i64..60).prop_map(|hours| {
            let at = jiff::Timestamp::from_second(hours * 3600)
                .unwrap()
                .to_string();
            format!("'{}'", at.trim_end_matches('Z'))
        })
    };
    let list = |values: Vec<String>| format!("({})", values.join(", "));
    let leaf = prop_oneof![
        (comparison(), number()).prop_map(|(c, v)| format!("n {c} {v}")),
        (comparison(), text()).prop_map(|(c, v)| format!("s {c} {v}")),
        (comparison(), half).prop_map(|(c, v)| format!("d {c} {v}")),
        (comparison(), time()).prop_map(|(c, v)| format!("t {c} {v}")),
        prop::collection::vec(number(), 1..3).prop_map(move |v| format!("n in {}", list(v))),
        prop::collection::vec(text(), 1..3).prop_map(move |v| format!("s not in {}", list(v))),
        prop::collection::vec(time(), 1..3).prop_map(move |v| format!("t in {}", list(v))),
        "[ab]{0,3}".prop_map(|prefix| format!("s like '{prefix}%'")),
        "[ab]{0,3}".prop_map(|prefix| format!("s not like '{prefix}%'")),
        prop::sample::select(vec![
            "n is null",
            "s is not null",
            "d is null",
            "t is not null"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..3)
                .prop_map(|v| format!("({})", v.join(" and "))),
            prop::collection::vec(inner.clone(), 2..3)
                .prop_map(|v| format!("({})", v.join(" or "))),
            inner.prop_map(|text| format!("not ({text})")),
        ]
    })
}

fn any_transform() -> impl Strategy<Value = (usize, Transform)> {
    prop_oneof![
        Just((0, Transform::Identity)),
        Just((0, Transform::Bucket(3))),
        (1u32..5).prop_map(|width| (0, Transform::Truncate(width))),
        Just((1, Transform::Identity)),
        (1u32..3).prop_map(|width| (1, Transform::Truncate(width))),
        Just((1, Transform::Bucket(2))),
        Just((3, Transform::Year)),
        Just((3, Transform::Month)),
        Just((3, Transform::Day)),
        Just((3, Transform::Hour)),
        Just((3, Transform::Void)),
    ]
}

/// Whether the row makes the expression true, by SQL's three-valued logic.
fn truth(node: &BoundNode, row: &Row) -> bool {
    match node {
        BoundNode::All(nodes) => nodes.iter().all(|node| truth(node, row)),
        BoundNode::Any(nodes) => nodes.iter().any(|node| truth(node, row)),
        BoundNode::Test { column, test } => row_test(row[column.id as usize - 1].as_ref(), test),
    }
}

fn row_test(value: Option<&Literal>, test: &Test<Literal>) -> bool {
    let Some(value) = value else {
        return matches!(test, Test::IsNull);
    };
    let order = |wanted: &Literal| match (value, wanted) {
        // NaN is above everything, as in Spark.
        (Literal::Double(a), Literal::Double(b)) => a.partial_cmp(b).unwrap_or(Ordering::Greater),
        (a, b) => a.cmp(b),
    };
    let prefixed = |prefix: &Literal| match (value, prefix) {
        (Literal::String(value), Literal::String(prefix)) => value.starts_with(prefix.as_str()),
        _ => panic!("{test:?}"),
    };
    match test {
        Test::Compare(comparison, wanted) => match comparison {
            Comparison::Eq => order(wanted).is_eq(),
            Comparison::Ne => order(wanted).is_ne(),
            Comparison::Lt => order(wanted).is_lt(),
            Comparison::Le => order(wanted).is_le(),
            Comparison::Gt => order(wanted).is_gt(),
            Comparison::Ge => order(wanted).is_ge(),
        },
        Test::In(wanted) => wanted.iter().any(|wanted| order(wanted).is_eq()),
        Test::NotIn(wanted) => wanted.iter().all(|wanted| order(wanted).is_ne()),
        Test::IsNull => false,
        Test::NotNull => true,
        Test::StartsWith(prefix) => prefixed(prefix),
        Test::NotStartsWith(prefix) => !prefixed(prefix),
    }
}

/// Metrics as a writer makes them, text cut to `width` characters; some columns have none.
fn measured(rows: &[Row], partition: Option<Literal>, width: usize, without: usize) -> DataFile {
    let mut file = placed(partition);
    for column in (0..4).filter(|column| *column != without) {
        let id = column as i32 + 1;
        let is_nan = |value: &&Literal| matches!(value, Literal::Double(d) if d.is_nan());
        let values: Vec<&Literal> = rows.iter().filter_map(|row| row[column].as_ref()).collect();
        let numbers: Vec<&Literal> = values.iter().copied().filter(|v| !is_nan(v)).collect();
        file.value_counts.insert(id, rows.len() as i64);
        file.null_value_counts
            .insert(id, (rows.len() - values.len()) as i64);
        file.nan_value_counts
            .insert(id, (values.len() - numbers.len()) as i64);
        if let (Some(lower), Some(upper)) = (numbers.iter().min(), numbers.iter().max()) {
            file.lower_bounds
                .insert(id, cut(lower, width, false).to_bytes().into());
            file.upper_bounds
                .insert(id, cut(upper, width, true).to_bytes().into());
        }
    }
    file
}

fn cut(bound: &Literal, width: usize, up: bool) -> Literal {
    match bound {
        Literal::String(text) if text.len() > width => {
            let last = text.as_bytes()[width - 1] + u8::from(up);
            Literal::String(format!("{}{}", &text[..width - 1], char::from(last)))
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_file_holding_a_matching_row_is_never_left_out(
        rows in prop::collection::vec(any_row(), 1..6),
        (column, transform) in any_transform(),
        text in any_expression(),
        width in 1usize..4,
        without in 0usize..8,
    ) {
        let partition = rows[0][column].as_ref().and_then(|value| transform.apply(value));
        // A file holds the rows of one partition.
        let rows: Vec<Row> = rows
            .into_iter()
            .filter(|row| row[column].as_ref().and_then(|value| transform.apply(value)) == partition)
            .collect();
        let file = measured(&rows, partition, width, without);
        let bound = Filter::parse(&text).unwrap().bind(&schema()).unwrap();
        if rows.iter().any(|row| truth(&bound.node, row)) {
            let spec = spec(column as i32 + 1, transform);
            prop_assert!(bound.may_match(&file, Some(&spec)), "{} on {:?}", text, rows);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9 ()<>=!,.'\"`%_é-]{0,60}") {
        drop(Filter::parse(&text));
    }
}
