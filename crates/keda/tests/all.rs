//! The messages and paths, compared with the `.proto`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeSet, HashMap};

use keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef, path,
};
use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value,
};

fn proto() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files = protox::compile(["externalscaler.proto"], [folder]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

/// Ours and the `.proto`'s message are the same bytes, with every field of the `.proto` set.
#[track_caller]
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(ours: &M) {
    let name = std::any::type_name::<M>().rsplit("::").next().unwrap();
    let descriptor = proto()
        .get_message_by_name(&format!("externalscaler.{name}"))
        .unwrap_or_else(|| panic!("{name} is not in the .proto"));
    let theirs = filled(&DynamicMessage::new(descriptor));
    let read = M::decode(theirs.encode_to_vec().as_slice()).unwrap();
    assert_eq!(&read, ours, "{name} as read from the .proto's");
    let mut back = DynamicMessage::new(theirs.descriptor());
    back.merge(ours.encode_to_vec().as_slice()).unwrap();
    assert_eq!(back, theirs, "{name} as the .proto reads ours");
    assert_eq!(back.unknown_fields().count(), 0, "{name} has other fields");
}

/// Every field with a value made of its name or number.
fn filled(empty: &DynamicMessage) -> DynamicMessage {
    let mut message = empty.clone();
    for field in empty.descriptor().fields() {
        let value = if field.is_map() {
            let entry = (
                MapKey::String("key".to_owned()),
                Value::String("value".to_owned()),
            );
            Value::Map(HashMap::from([entry]))
        } else if field.is_list() {
            Value::List(vec![one(&field)])
        } else {
            one(&field)
        };
        message.set_field(&field, value);
    }
    message
}

fn one(field: &FieldDescriptor) -> Value {
    use prost_reflect::Kind;
    match field.kind() {
        Kind::String => Value::String(field.name().to_owned()),
        Kind::Bool => Value::Bool(true),
        Kind::Int64 => Value::I64(i64::from(field.number()) - 10),
        Kind::Double => Value::F64(f64::from(field.number()) + 0.5),
        Kind::Message(message) => Value::Message(filled(&DynamicMessage::new(message))),
        other => panic!("{} is a {other:?}", field.full_name()),
    }
}

#[test]
fn m33_every_message_is_as_keda_has_it() {
    let object = ScaledObjectRef {
        name: "name".to_owned(),
        namespace: "namespace".to_owned(),
        scaler_metadata: HashMap::from([("key".to_owned(), "value".to_owned())]),
    };
    check(&object);
    check(&IsActiveResponse { result: true });
    let spec = MetricSpec {
        metric_name: "metricName".to_owned(),
        target_size: -8,
        target_size_float: 3.5,
    };
    check(&spec);
    check(&GetMetricSpecResponse {
        metric_specs: vec![spec],
    });
    check(&GetMetricsRequest {
        scaled_object_ref: Some(object),
        metric_name: "metricName".to_owned(),
    });
    let value = MetricValue {
        metric_name: "metricName".to_owned(),
        metric_value: -8,
        metric_value_float: 3.5,
    };
    check(&value);
    check(&GetMetricsResponse {
        metric_values: vec![value],
    });
}

#[test]
fn m33_every_method_is_where_keda_asks_for_it() {
    let pool = proto();
    let service = pool.services().next().unwrap();
    let methods: BTreeSet<(String, bool)> = service
        .methods()
        .map(|method| {
            let path = format!("/{}/{}", service.full_name(), method.name());
            (path, method.is_server_streaming())
        })
        .collect();
    let ours = [
        (path::IS_ACTIVE, false),
        (path::STREAM_IS_ACTIVE, true),
        (path::GET_METRIC_SPEC, false),
        (path::GET_METRICS, false),
    ];
    let ours = ours.map(|(path, streams)| (path.to_owned(), streams));
    assert_eq!(methods, BTreeSet::from(ours));
    assert_eq!(pool.all_messages().filter(|m| !m.is_map_entry()).count(), 7);
}
