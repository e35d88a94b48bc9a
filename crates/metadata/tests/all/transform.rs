//! Partition values and paths, judged by PyIceberg.

use metadata::{Field, Literal, PartitionField, PartitionSpec, Primitive, Transform, Type};
use serde_json::{Value, json};
use testkit::oracle;

/// Types, the transforms they take beside bucket and identity, and values in JSON single-value form.
const FAMILIES: &[(&str, &str, &str)] = &[
    (
        "int",
        CUT,
        "[0, 1, -1, 34, 49, 50, -50, -51, 2147483647, -2147483600]",
    ),
    (
        "long",
        CUT,
        "[0, -1, 34, 50, -51, 9223372036854775807, -9223372036854775000]",
    ),
    (
        "decimal(9, 2)",
        CUT,
        r#"["0.00", "14.20", "-0.01", "-14.20", "9999999.99"]"#,
    ),
    (
        "decimal(38, 2)",
        CUT,
        r#"["0.00", "1.28", "-1.28", "999999999999999999999999.99"]"#,
    ),
    (
        "date",
        "year month day",
        r#"["1970-01-01", "1969-12-31", "2017-11-16", "2400-02-29"]"#,
    ),
    (
        "time",
        "",
        r#"["00:00:00.000001", "22:31:08.123456", "23:59:59.999999"]"#,
    ),
    (
        "timestamp",
        "year month day hour",
        r#"["1970-01-01T00:00:00.000000", "2017-11-16T22:31:08.123456", "1969-12-31T23:59:59.999999"]"#,
    ),
    (
        "timestamptz",
        "year month day hour",
        r#"["1970-01-01T00:00:00.000001+00:00", "1582-10-04T01:00:00.500000+00:00"]"#,
    ),
    (
        "string",
        CUT,
        r#"["", "iceberg", "größe", "a b/c=d&e", "日本語テキスト", "x%2F+", "😀😀😀😀"]"#,
    ),
    (
        "uuid",
        "",
        r#"["f79c3e09-677c-4bbd-a479-3f349cb785e7", "00000000-0000-0000-0000-000000000000"]"#,
    ),
    ("fixed[4]", "", r#"["00010203"]"#),
    ("binary", CUT, r#"["", "ff", "00010203"]"#),
];
const CUT: &str = "truncate[1] truncate[3] truncate[50]";
const EVERY: &str = "identity void bucket[16] bucket[2147483647]";

fn cases() -> Vec<(&'static str, &'static str, Value)> {
    let mut cases = vec![
        ("boolean", "identity", json!(true)),
        ("double", "identity", json!(1.5)),
    ];
    for (ty, transforms, values) in FAMILIES {
        let values: Vec<Value> = serde_json::from_str(values).unwrap();
        for transform in EVERY.split(' ').chain(transforms.split_whitespace()) {
            cases.extend(values.iter().map(|value| (*ty, transform, value.clone())));
        }
    }
    cases
}

/// Texts that PyIceberg writes otherwise than Java, whose form is ours: the zone, whole seconds
/// and fractions of them.
fn differs(ty: &str, transform: &str) -> bool {
    transform == "identity" && matches!(ty, "time" | "timestamp" | "timestamptz")
}

#[test]
fn partition_values_and_paths_are_pyicebergs() {
    let cases = cases();
    let told = oracle("transforms", &json!({ "cases": cases }));
    for ((ty, name, value), want) in cases.iter().zip(told.as_array().unwrap()) {
        let case = format!("{name} of {value} as {ty}");
        let field: Field = field(ty);
        let primitive: &Primitive = field.ty.primitive().unwrap();
        let literal = Literal::from_json(primitive, value).unwrap();
        assert_eq!(&literal.to_json(), value, "{case}");
        let transform = Transform::parse(name);
        let result = transform.apply(&literal);
        let bytes = result
            .as_ref()
            .map(|result| Literal::Binary(result.to_bytes()).to_json());
        assert_eq!(json!(bytes), want[0], "{case}");
        if let Some(result) = &result {
            let of = transform.result_type(primitive);
            assert_eq!(
                &Literal::from_bytes(&of, &result.to_bytes()).unwrap(),
                result,
                "{case}"
            );
        }
        if !differs(ty, name) {
            let part = PartitionField {
                source_id: 1,
                field_id: 1000,
                name: "p".to_owned(),
                transform,
            };
            let spec = PartitionSpec {
                spec_id: 0,
                fields: vec![part],
            };
            assert_eq!(json!(spec.path(&[result])), want[1], "{case}");
        }
    }
}

fn field(ty: &str) -> Field {
    let schema = json!({"type": "struct", "fields": [{"id": 1, "name": "c", "required": false, "type": ty}]});
    let schema: metadata::Schema = serde_json::from_value(schema).unwrap();
    assert!(matches!(schema.root.fields[0].ty, Type::Primitive(_)));
    schema.root.fields[0].clone()
}
