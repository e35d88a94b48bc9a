//! Rows lie where `metadata::Transform` puts their values.

use arrow_array::StructArray;
use metadata::StructType;
use proptest::prelude::*;

use super::*;
use crate::files::constant::repeated;
use crate::files::schema::arrow_field;

fn any_value() -> impl Strategy<Value = (Primitive, Literal)> {
    let bytes = || proptest::collection::vec(any::<u8>(), 4);
    prop_oneof![
        any::<bool>().prop_map(|v| (Primitive::Boolean, Literal::Boolean(v))),
        any::<i32>().prop_map(|v| (Primitive::Int, Literal::Int(v))),
        any::<i64>().prop_map(|v| (Primitive::Long, Literal::Long(v))),
        prop_oneof![any::<f32>(), Just(-0.0), Just(f32::NAN)]
            .prop_map(|v| (Primitive::Float, Literal::Float(v))),
        prop_oneof![any::<f64>(), Just(-0.0), Just(f64::NAN)]
            .prop_map(|v| (Primitive::Double, Literal::Double(v))),
        (any::<i64>(), prop_oneof![Just(18_u32), Just(38)]).prop_map(|(v, precision)| {
            let unscaled = i128::from(v % 1_000_000_000_000_000_000);
            let ty = Primitive::Decimal {
                precision,
                scale: 2,
            };
            (ty, Literal::Decimal { unscaled, scale: 2 })
        }),
        any::<i32>().prop_map(|v| (Primitive::Date, Literal::Date(v / 1_000))),
        any::<i64>().prop_map(|v| (Primitive::Time, Literal::Time(v))),
        any::<i64>().prop_map(|v| (Primitive::Timestamp, Literal::Timestamp(v / 1_000))),
        any::<i64>().prop_map(|v| (Primitive::Timestamptz, Literal::Timestamptz(v / 1_000))),
        ".{0,12}".prop_map(|v| (Primitive::String, Literal::String(v))),
        any::<u128>().prop_map(|v| {
            let uuid = uuid::Uuid::from_u128(v);
            (Primitive::Uuid, Literal::Uuid(uuid))
        }),
        bytes().prop_map(|v| (Primitive::Fixed(4), Literal::Fixed(v))),
        bytes().prop_map(|v| (Primitive::Binary, Literal::Binary(v))),
    ]
}

fn any_transform() -> impl Strategy<Value = Transform> {
    prop_oneof![
        Just(Transform::Identity),
        (1_u32..100).prop_map(Transform::Bucket),
        (1_u32..9).prop_map(Transform::Truncate),
        Just(Transform::Year),
        Just(Transform::Month),
        Just(Transform::Day),
        Just(Transform::Hour),
        Just(Transform::Void),
    ]
}

fn schema(fields: Vec<Field>) -> Schema {
    Schema {
        schema_id: 0,
        root: StructType { fields },
        identifier_field_ids: vec![],
    }
}

fn spec(transform: Transform, source_id: i32) -> PartitionSpec {
    PartitionSpec {
        spec_id: 1,
        fields: vec![PartitionField {
            source_id,
            field_id: 1000,
            name: "p".into(),
            transform,
        }],
    }
}

fn nested(ty: Primitive) -> Vec<Field> {
    let fields = vec![Field::new(2, "x", false, Type::Primitive(ty))];
    let place = Field::new(1, "s", false, Type::Struct(StructType { fields }));
    vec![
        Field::new(9, "first", false, Type::Primitive(Primitive::Int)),
        place,
    ]
}

proptest! {
    /// At the top, below a struct, and below a struct that is null.
    #[test]
    fn a_row_is_where_its_transformed_value_is((ty, value) in any_value(), transform in any_transform()) {
        let field = Field::new(2, "x", false, Type::Primitive(ty.clone()));
        let arrow = arrow_field(&field, "x").unwrap();
        let array = repeated(&value, arrow.data_type(), 1).unwrap();
        let fields = nested(ty);
        let below = Partitioning::new(&spec(transform.clone(), 2), &schema(fields));
        let flat = Partitioning::new(&spec(transform.clone(), 2), &schema(vec![field]));
        let (Ok(flat), Ok(below)) = (flat, below) else {
            prop_assert_eq!(transform.apply(&value), None, "{} is refused", transform);
            return Ok(());
        };
        let want = transform.apply(&value).map(one_nan);
        let mut place = Partition::new();
        flat.place(&HashMap::from([(0, Arc::clone(&array))]), 0, &mut place);
        prop_assert_eq!(&place, std::slice::from_ref(&want));
        let inside = vec![Arc::new(arrow)].into();
        let there = StructArray::new(inside, vec![array], None);
        let null: ArrayRef = arrow_array::new_null_array(there.data_type(), 1);
        below.place(&HashMap::from([(1, Arc::new(there) as ArrayRef)]), 0, &mut place);
        prop_assert_eq!(&place, &[want]);
        below.place(&HashMap::from([(1, null)]), 0, &mut place);
        prop_assert_eq!(&place, &[None]);
    }
}

#[test]
fn nans_are_one_partition_and_zeros_are_two() {
    let odd = f64::from_bits(f64::NAN.to_bits() | 1);
    assert_eq!(
        one_nan(Literal::Double(odd)),
        one_nan(Literal::Double(f64::NAN))
    );
    assert_ne!(
        one_nan(Literal::Double(-0.0)),
        one_nan(Literal::Double(0.0))
    );
}

#[track_caller]
fn refused(spec: &PartitionSpec, want: &str) {
    let fields = vec![Field::new(
        1,
        "x",
        false,
        Type::Primitive(Primitive::Double),
    )];
    let error = Partitioning::new(spec, &schema(fields)).unwrap_err();
    assert!(
        error.refuses() && error.to_string().contains(want),
        "{error}"
    );
}

#[test]
fn a_spec_that_cannot_place_rows_is_refused() {
    refused(&spec(Transform::Identity, 7), "p is made of was dropped");
    refused(&spec(Transform::Bucket(3), 1), "p is bucket[3] of x");
    refused(
        &spec(Transform::Unknown("zorder".into()), 1),
        "p is zorder of x",
    );
}
