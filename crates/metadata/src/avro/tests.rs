//! The walker and the container against `apache-avro`, on random schemas and values.

use std::collections::HashMap;

use apache_avro::types::Value;
use apache_avro::{DeflateSettings, Reader, Writer};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A type and how to make values of it.
#[derive(Debug, Clone)]
enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Array(Box<Shape>),
    Map(Box<Shape>),
    Optional(Box<Shape>),
    Record(Vec<Shape>),
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Null),
        Just(Shape::Boolean),
        Just(Shape::Int),
        Just(Shape::Long),
        Just(Shape::Float),
        Just(Shape::Double),
        Just(Shape::Bytes),
        Just(Shape::String),
        (1usize..20).prop_map(Shape::Fixed),
        Just(Shape::Enum),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Shape::Array(Box::new(item))),
            inner.clone().prop_map(|item| Shape::Map(Box::new(item))),
            inner.clone().prop_map(|item| match item {
                Shape::Null | Shape::Optional(_) => Shape::Optional(Box::new(Shape::Long)),
                item => Shape::Optional(Box::new(item)),
            }),
            prop::collection::vec(inner, 0..6).prop_map(Shape::Record),
        ]
    })
}

impl Shape {
    fn schema(&self, names: &mut usize) -> serde_json::Value {
        let mut name = || {
            *names += 1;
            format!("n{names}")
        };
        match self {
            Self::Null => json!("null"),
            Self::Boolean => json!("boolean"),
            Self::Int => json!("int"),
            Self::Long => json!("long"),
            Self::Float => json!("float"),
            Self::Double => json!("double"),
            Self::Bytes => json!("bytes"),
            Self::String => json!("string"),
            Self::Fixed(size) => json!({"type": "fixed", "name": name(), "size": size}),
            Self::Enum => json!({"type": "enum", "name": name(), "symbols": ["a", "b", "c"]}),
            Self::Array(item) => json!({"type": "array", "items": item.schema(names)}),
            Self::Map(item) => json!({"type": "map", "values": item.schema(names)}),
            Self::Optional(item) => json!(["null", item.schema(names)]),
            Self::Record(fields) => {
                let name = name();
                let fields: Vec<_> = fields
                    .iter()
                    .enumerate()
                    .map(|(at, field)| {
                        json!({"name": format!("f{at}"), "type": field.schema(names)})
                    })
                    .collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
        }
    }

    fn value(&self, random: &mut impl FnMut() -> u64) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Boolean => Value::Boolean(random() & 1 == 1),
            Self::Int => Value::Int((random() as i32) >> (random() % 32)),
            Self::Long => Value::Long((random() as i64) >> (random() % 64)),
            Self::Float => Value::Float(random() as i32 as f32 / 7.0),
            Self::Double => Value::Double(random() as i64 as f64 / 7.0),
            Self::Bytes => Value::Bytes((0..random() % 200).map(|_| random() as u8).collect()),
            Self::String => Value::String(
                (0..random() % 90)
                    .map(|_| ['a', 'ß', '☃'][random() as usize % 3])
                    .collect(),
            ),
            Self::Fixed(size) => Value::Fixed(*size, (0..*size).map(|_| random() as u8).collect()),
            Self::Enum => {
                let at = random() as usize % 3;
                Value::Enum(at as u32, ["a", "b", "c"][at].to_owned())
            }
            Self::Array(item) => {
                Value::Array((0..random() % 4).map(|_| item.value(random)).collect())
            }
            Self::Map(item) => Value::Map(
                (0..random() % 4)
                    .map(|at| (format!("k{at}"), item.value(random)))
                    .collect(),
            ),
            Self::Optional(item) if random() & 1 == 1 => {
                Value::Union(1, Box::new(item.value(random)))
            }
            Self::Optional(_) => Value::Union(0, Box::new(Value::Null)),
            Self::Record(fields) => Value::Record(
                fields
                    .iter()
                    .enumerate()
                    .map(|(at, field)| (format!("f{at}"), field.value(random)))
                    .collect(),
            ),
        }
    }
}

/// Decodes whatever the schema says, the way `apache-avro` shows it.
fn decode(cursor: &mut Cursor<'_>, node: &Node) -> Result<Value, Malformed> {
    Ok(match &node.kind {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Boolean(cursor.boolean()?),
        Kind::Int => Value::Int(cursor.int()?),
        Kind::Long => Value::Long(cursor.long()?),
        Kind::Float => Value::Float(cursor.float()?),
        Kind::Double => Value::Double(cursor.double()?),
        Kind::Bytes => Value::Bytes(cursor.bytes()?.to_vec()),
        Kind::String => Value::String(cursor.string()?.to_owned()),
        Kind::Fixed(size) => Value::Fixed(*size, cursor.take(*size)?.to_vec()),
        Kind::Enum => {
            let at = cursor.int()?;
            Value::Enum(at as u32, ["a", "b", "c"][at as usize].to_owned())
        }
        Kind::Array(item) => {
            let mut items = Vec::new();
            if item.empty {
                // Nothing to read: the count alone tells.
                loop {
                    let count = cursor.long()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        items.push(decode(cursor, item)?);
                    }
                }
            } else {
                cursor.items(|cursor| {
                    items.push(decode(cursor, item)?);
                    Ok(())
                })?;
            }
            Value::Array(items)
        }
        Kind::Map(item) => {
            let mut items = HashMap::new();
            cursor.items(|cursor| {
                items.insert(cursor.string()?.to_owned(), decode(cursor, item)?);
                Ok(())
            })?;
            Value::Map(items)
        }
        Kind::Union(branches) => {
            let at = cursor.long()?;
            Value::Union(at as u32, Box::new(decode(cursor, &branches[at as usize])?))
        }
        Kind::Record(columns) => {
            let mut fields = Vec::new();
            for column in columns {
                fields.push((column.name.clone(), decode(cursor, &column.node)?));
            }
            Value::Record(fields)
        }
    })
}

/// A record around the shape, so that no value is zero bytes long.
fn rooted(shape: Shape) -> Shape {
    Shape::Record(vec![Shape::Long, shape, Shape::Int])
}

fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

fn written(shape: &Shape, values: &[Value], codec: apache_avro::Codec) -> Vec<u8> {
    let schema = apache_avro::Schema::parse(&shape.schema(&mut 0)).unwrap();
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
    for value in values {
        writer.append_value(value.clone()).unwrap();
    }
    writer.into_inner().unwrap()
}

proptest! {
    #[test]
    fn what_apache_avro_writes_is_read_and_skipped(
        shape in shapes(), count in 0usize..40, seed: u64, deflate: bool,
    ) {
        let shape = rooted(shape);
        let mut random = random(seed);
        let values: Vec<_> = (0..count).map(|_| shape.value(&mut random)).collect();
        let codec = if deflate {
            apache_avro::Codec::Deflate(DeflateSettings::default())
        } else {
            apache_avro::Codec::Null
        };
        let bytes = written(&shape, &values, codec);
        let mut container = Container::open(&bytes).unwrap();
        let root = container.root.clone();
        let mut read = Vec::new();
        container.each(|cursor| {
            let mut skipper = cursor.clone();
            read.push(decode(cursor, &root)?);
            skipper.skip(&root)?;
            assert_eq!(skipper.position(), cursor.position());
            Ok(())
        }).unwrap();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn what_is_spliced_into_a_new_container_apache_avro_reads(
        shape in shapes(), count in 1usize..40, seed: u64,
    ) {
        let shape = rooted(shape);
        let mut random = random(seed);
        let values: Vec<_> = (0..count).map(|_| shape.value(&mut random)).collect();
        let bytes = written(&shape, &values, apache_avro::Codec::Null);
        let mut container = Container::open(&bytes).unwrap();
        let mut copy = ContainerWriter::with_header(&container.header, container.codec);
        let root = container.root.clone();
        container.each(|cursor| {
            let start = cursor.position();
            cursor.skip(&root)?;
            copy.push(cursor.since(start));
            Ok(())
        }).unwrap();
        let bytes = copy.finish();
        let read: Vec<_> = Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn hostile_bytes_are_an_error_and_never_a_panic(
        shape in shapes(), seed: u64,
        flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6),
    ) {
        let shape = rooted(shape);
        let mut random = random(seed);
        let values: Vec<_> = (0..5).map(|_| shape.value(&mut random)).collect();
        let mut bytes = written(&shape, &values, apache_avro::Codec::Null);
        for (at, flip) in flips {
            let at = at as usize % bytes.len();
            bytes[at] ^= flip;
        }
        if let Ok(mut container) = Container::open(&bytes) {
            let root = container.root.clone();
            let _ = container.each(|cursor| cursor.skip(&root));
        }
    }

    #[test]
    fn any_bytes_at_all_are_an_error_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(Container::open(&bytes).is_err());
        let mut headed = b"Obj\x01".to_vec();
        headed.extend(&bytes);
        let _ = Container::open(&headed).map(|mut container| {
            let root = container.root.clone();
            let _ = container.each(|cursor| cursor.skip(&root));
        });
    }
}

#[test]
fn every_codec_reads_what_it_wrote() {
    let plain: Vec<u8> = (0..200_000u32)
        .flat_map(|n| (n / 7).to_le_bytes())
        .collect();
    for codec in [
        Codec::Null,
        Codec::DEFLATE,
        Codec::Snappy,
        Codec::Zstandard { level: 1 },
    ] {
        for plain in [&plain[..], &[]] {
            let packed = codec.compress(plain);
            assert_eq!(&*codec.decompress(&packed).unwrap(), plain, "{codec:?}");
            for cut in 0..packed.len().min(100) {
                if codec != Codec::Null {
                    let cut = packed.len() - 1 - cut;
                    assert!(
                        codec.decompress(&packed[..cut]).is_err(),
                        "{codec:?} cut at {cut}"
                    );
                }
            }
        }
        assert_eq!(Codec::from_name(codec.name()).unwrap().name(), codec.name());
    }
    assert!(Codec::from_name("bzip2").is_none());
}

#[test]
fn a_snappy_block_that_lies_about_its_length_is_refused() {
    // A length of 4 GiB - 1 before nothing at all.
    let why = Codec::Snappy
        .decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0])
        .unwrap_err();
    assert!(why.to_string().contains("announced"), "{why}");
    let mut packed = Codec::Snappy.compress(b"some text").into_owned();
    *packed.last_mut().unwrap() ^= 1;
    let why = Codec::Snappy.decompress(&packed).unwrap_err();
    assert!(why.to_string().contains("checksum"), "{why}");
}
