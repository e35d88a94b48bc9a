//! The schema a container was written with, parsed into a tree a cursor can walk.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Malformed;

/// Types nested deeper than this are refused.
const DEPTH_MAX: usize = 64;
/// Types a schema may have in all once every reference to a named type is followed. Bounds the
/// time to skip one value, whatever the schema repeats.
const WEIGHT_MAX: u32 = 100_000;
/// Bytes one value of a `fixed` type may have.
const FIXED_BYTES_MAX: u64 = 1 << 20;

/// One type of a schema.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Types below and including this one, references followed.
    weight: u32,
    /// Values take no bytes at all.
    pub(crate) empty: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Enum,
    Fixed(usize),
    Array(Arc<Node>),
    Map(Arc<Node>),
    Union(Vec<Arc<Node>>),
    Record(Vec<Column>),
}

/// One field of a record.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Iceberg's `field-id`.
    pub(crate) id: Option<i32>,
    pub(crate) node: Arc<Node>,
    /// The field as the schema declares it.
    pub(crate) declared: Arc<Value>,
}

impl Node {
    /// Parses a schema. References to types not yet complete (recursive types) are refused.
    pub(crate) fn parse(schema: &Value) -> Result<Arc<Self>, Malformed> {
        Parser::default().node(schema, "", 0)
    }

    /// The columns, when this is a record.
    pub(crate) fn columns(&self) -> Option<&[Column]> {
        match &self.kind {
            Kind::Record(columns) => Some(columns),
            _ => None,
        }
    }

    /// The type beside null in `["null", T]`, or the type itself.
    pub(crate) fn present(&self) -> &Self {
        match &self.kind {
            Kind::Union(branches) => {
                let mut present = branches
                    .iter()
                    .filter(|node| !matches!(node.kind, Kind::Null));
                match (present.next(), present.next()) {
                    (Some(node), None) => node,
                    _ => self,
                }
            }
            _ => self,
        }
    }

    fn new(kind: Kind) -> Result<Self, Malformed> {
        let (below, empty) = match &kind {
            Kind::Null | Kind::Fixed(0) => (0, true),
            Kind::Array(item) | Kind::Map(item) => (item.weight, false),
            Kind::Union(branches) => (sum(branches.iter().map(|node| node.weight)), false),
            Kind::Record(columns) => (
                sum(columns.iter().map(|column| column.node.weight)),
                columns.iter().all(|column| column.node.empty),
            ),
            _ => (0, false),
        };
        let weight = below.saturating_add(1);
        if weight > WEIGHT_MAX {
            return Err(Malformed::new(format!(
                "the schema has more than {WEIGHT_MAX} types"
            )));
        }
        Ok(Self {
            kind,
            weight,
            empty,
        })
    }
}

fn sum(weights: impl Iterator<Item = u32>) -> u32 {
    weights.fold(0, u32::saturating_add)
}

#[derive(Default)]
struct Parser {
    /// Complete named types by full name.
    names: HashMap<String, Arc<Node>>,
}

impl Parser {
    fn node(
        &mut self,
        schema: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<Arc<Node>, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::new(format!(
                "the schema nests deeper than {DEPTH_MAX}"
            )));
        }
        match schema {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| self.node(branch, namespace, depth + 1))
                    .collect::<Result<Vec<_>, _>>()?;
                Node::new(Kind::Union(branches)).map(Arc::new)
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.complex(kind, object, namespace, depth),
                Some(inner) => self.node(inner, namespace, depth + 1),
                None => Err(Malformed::new("a type of the schema lacks `type`")),
            },
            _ => Err(Malformed::new(
                "a type of the schema is neither text, list nor object",
            )),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<Arc<Node>, Malformed> {
        let kind = match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::String,
            _ => {
                let found = self.names.get(&full_name(name, namespace));
                return found.cloned().ok_or_else(|| {
                    Malformed::new(format!(
                        "type {name:?} of the schema is unknown or recursive"
                    ))
                });
            }
        };
        Node::new(kind).map(Arc::new)
    }

    fn complex(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Arc<Node>, Malformed> {
        let child = |key: &str| {
            object
                .get(key)
                .ok_or_else(|| Malformed::new(format!("a {kind} type lacks `{key}`")))
        };
        match kind {
            "array" => {
                let items = self.node(child("items")?, namespace, depth + 1)?;
                Node::new(Kind::Array(items)).map(Arc::new)
            }
            "map" => {
                let values = self.node(child("values")?, namespace, depth + 1)?;
                Node::new(Kind::Map(values)).map(Arc::new)
            }
            "record" | "error" | "enum" | "fixed" => {
                let name = declared_name(object, namespace)?;
                let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
                let kind = match kind {
                    "enum" => Kind::Enum,
                    "fixed" => {
                        let size = child("size")?
                            .as_u64()
                            .filter(|size| *size <= FIXED_BYTES_MAX);
                        Kind::Fixed(size.ok_or_else(|| Malformed::new("bad fixed size"))? as usize)
                    }
                    _ => Kind::Record(self.columns(child("fields")?, inner, depth)?),
                };
                let node = Arc::new(Node::new(kind)?);
                self.names.insert(name, node.clone());
                Ok(node)
            }
            name => self.named(name, namespace),
        }
    }

    fn columns(
        &mut self,
        fields: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<Vec<Column>, Malformed> {
        let fields = fields
            .as_array()
            .ok_or_else(|| Malformed::new("`fields` is not a list"))?;
        fields
            .iter()
            .map(|field| {
                let name = field.get("name").and_then(Value::as_str);
                let name = name
                    .ok_or_else(|| Malformed::new("a field lacks `name`"))?
                    .to_owned();
                let schema = field
                    .get("type")
                    .ok_or_else(|| Malformed::new(format!("field {name:?} lacks `type`")))?;
                Ok(Column {
                    id: field
                        .get("field-id")
                        .and_then(Value::as_i64)
                        .map(|id| id as i32),
                    node: self.node(schema, namespace, depth + 1)?,
                    declared: Arc::new(field.clone()),
                    name,
                })
            })
            .collect()
    }
}

fn declared_name(object: &Map<String, Value>, enclosing: &str) -> Result<String, Malformed> {
    let name = object
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| Malformed::new("a named type lacks `name`"))?;
    let namespace = object
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(enclosing);
    Ok(full_name(name, namespace))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recursive_type_is_refused() {
        let schema = json!({"type": "record", "name": "a", "fields": [
            {"name": "again", "type": ["null", "a"]}]});
        let why = Node::parse(&schema).unwrap_err().to_string();
        assert!(why.contains("recursive"), "{why}");
    }

    #[test]
    fn types_that_double_at_every_level_are_refused() {
        let mut fields = vec![
            json!({"name": "f0", "type": {"type": "record", "name": "r0", "fields": [
                {"name": "x", "type": "null"}]}}),
        ];
        for level in 1..40 {
            let below = format!("r{}", level - 1);
            fields.push(json!({"name": format!("f{level}"), "type":
                {"type": "record", "name": format!("r{level}"), "fields": [
                    {"name": "x", "type": below}, {"name": "y", "type": below}]}}));
        }
        let schema = json!({"type": "record", "name": "root", "fields": fields});
        let why = Node::parse(&schema).unwrap_err().to_string();
        assert!(why.contains("more than"), "{why}");
    }

    #[test]
    fn a_deep_schema_is_refused() {
        let mut schema = json!("int");
        for _ in 0..100 {
            schema = json!({"type": "array", "items": schema});
        }
        let why = Node::parse(&schema).unwrap_err().to_string();
        assert!(why.contains("deeper"), "{why}");
    }

    #[test]
    fn names_are_found_in_the_namespace_they_were_declared_in() {
        let schema = json!({"type": "record", "name": "root", "namespace": "n", "fields": [
            {"name": "a", "type": {"type": "fixed", "name": "f", "size": 3}},
            {"name": "b", "type": {"type": "fixed", "name": "m.f", "size": 5}},
            {"name": "c", "type": "f"},
            {"name": "d", "type": "m.f"}]});
        let node = Node::parse(&schema).unwrap();
        let sizes: Vec<_> = node
            .columns()
            .unwrap()
            .iter()
            .map(|column| match column.node.kind {
                Kind::Fixed(size) => size,
                _ => 0,
            })
            .collect();
        assert_eq!(sizes, [3, 5, 3, 5]);
    }
}
