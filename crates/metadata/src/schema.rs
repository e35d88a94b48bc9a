//! Schemas: fields with ids, and their types (spec, "Schemas and Data Types").

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::Error;
use crate::json::{At, optional, serde_by_json};

/// One version of a table's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub schema_id: i32,
    pub root: StructType,
    /// Ids of the fields that identify a row; may be empty.
    pub identifier_field_ids: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct StructType {
    pub fields: Vec<Field>,
}

/// A column, a struct's field, a list's element, or a map's key or value.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub id: i32,
    pub name: String,
    pub required: bool,
    pub ty: Type,
    pub doc: Option<String>,
    /// What rows written before the field was added hold (JSON single-value form).
    pub initial_default: Option<Value>,
    /// What a writer that does not know the field writes.
    pub write_default: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Primitive(Primitive),
    Struct(StructType),
    List { element: Box<Field> },
    Map { key: Box<Field>, value: Box<Field> },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Primitive {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Decimal {
        precision: u32,
        scale: u32,
    },
    Date,
    /// Microseconds from midnight.
    Time,
    Timestamp,
    Timestamptz,
    TimestampNs,
    TimestamptzNs,
    String,
    Uuid,
    /// Length in bytes.
    Fixed(u64),
    Binary,
    /// A type this version does not know, as it was written.
    Other(String),
}

/// Digits a decimal may have.
const DECIMAL_PRECISION_MAX: u32 = 38;

impl Field {
    /// A field without documentation and defaults.
    pub fn new(id: i32, name: impl Into<String>, required: bool, ty: Type) -> Self {
        let (name, doc) = (name.into(), None);
        Self {
            id,
            name,
            required,
            ty,
            doc,
            initial_default: None,
            write_default: None,
        }
    }

    fn read(at: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: at.require("id")?.i32()?,
            name: at.require("name")?.str()?.to_owned(),
            required: at.require("required")?.bool()?,
            ty: Type::read(at.require("type")?)?,
            doc: optional!(at, "doc", str).map(str::to_owned),
            initial_default: at
                .get("initial-default")?
                .map(|found| found.value().clone()),
            write_default: at.get("write-default")?.map(|found| found.value().clone()),
        })
    }

    fn to_json(&self) -> Value {
        let mut field = Map::new();
        field.insert("id".into(), self.id.into());
        field.insert("name".into(), self.name.clone().into());
        field.insert("required".into(), self.required.into());
        field.insert("type".into(), self.ty.to_json());
        if let Some(doc) = &self.doc {
            field.insert("doc".into(), doc.clone().into());
        }
        if let Some(value) = &self.initial_default {
            field.insert("initial-default".into(), value.clone());
        }
        if let Some(value) = &self.write_default {
            field.insert("write-default".into(), value.clone());
        }
        field.into()
    }
}

impl StructType {
    fn read(at: At<'_>) -> Result<Self, Error> {
        let fields = at.require("fields")?.each(Field::read)?;
        let mut names = HashSet::new();
        if let Some(twice) = fields
            .iter()
            .find(|field| !names.insert(field.name.as_str()))
        {
            return Err(at.error(format!("field name `{}` stands twice", twice.name)));
        }
        Ok(Self { fields })
    }

    fn fields_json(&self) -> Value {
        self.fields.iter().map(Field::to_json).collect()
    }
}

impl Type {
    fn read(at: At<'_>) -> Result<Self, Error> {
        if let Value::String(name) = at.value() {
            let primitive: Result<Primitive, String> = Primitive::parse(name);
            return primitive.map(Self::Primitive).map_err(|why| at.error(why));
        }
        match at.require("type")?.str()? {
            "struct" => StructType::read(at).map(Self::Struct),
            "list" => Ok(Self::List {
                element: Box::new(Field::new(
                    at.require("element-id")?.i32()?,
                    "element",
                    at.require("element-required")?.bool()?,
                    Self::read(at.require("element")?)?,
                )),
            }),
            "map" => Ok(Self::Map {
                key: Box::new(Field::new(
                    at.require("key-id")?.i32()?,
                    "key",
                    true,
                    Self::read(at.require("key")?)?,
                )),
                value: Box::new(Field::new(
                    at.require("value-id")?.i32()?,
                    "value",
                    at.require("value-required")?.bool()?,
                    Self::read(at.require("value")?)?,
                )),
            }),
            other => Err(at.error(format!("`{other}` is no nested type: struct, list or map"))),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Primitive(primitive) => primitive.to_string().into(),
            Self::Struct(fields) => json!({"type": "struct", "fields": fields.fields_json()}),
            Self::List { element } => json!({
                "type": "list",
                "element-id": element.id,
                "element": element.ty.to_json(),
                "element-required": element.required,
            }),
            Self::Map { key, value } => json!({
                "type": "map",
                "key-id": key.id,
                "key": key.ty.to_json(),
                "value-id": value.id,
                "value": value.ty.to_json(),
                "value-required": value.required,
            }),
        }
    }

    /// The fields directly inside, in order.
    pub fn children(&self) -> Vec<&Field> {
        match self {
            Self::Primitive(_) => Vec::new(),
            Self::Struct(fields) => fields.fields.iter().collect(),
            Self::List { element } => vec![element],
            Self::Map { key, value } => vec![key, value],
        }
    }

    pub fn primitive(&self) -> Option<&Primitive> {
        match self {
            Self::Primitive(primitive) => Some(primitive),
            Self::Struct(_) | Self::List { .. } | Self::Map { .. } => None,
        }
    }
}

impl Primitive {
    /// Reads a type's name; a name not known is kept as [`Primitive::Other`].
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "timestamp_ns" => Self::TimestampNs,
            "timestamptz_ns" => Self::TimestamptzNs,
            "string" => Self::String,
            "uuid" => Self::Uuid,
            "binary" => Self::Binary,
            _ => return Self::parse_sized(name),
        })
    }

    fn parse_sized(name: &str) -> Result<Self, String> {
        let bad = || format!("type `{name}` cannot be read");
        if let Some(sizes) = name
            .strip_prefix("decimal(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            let (precision, scale) = sizes.split_once(',').ok_or_else(bad)?;
            let precision = precision.trim().parse().map_err(|_| bad())?;
            let scale = scale.trim().parse().map_err(|_| bad())?;
            if precision == 0 || precision > DECIMAL_PRECISION_MAX || scale > precision {
                return Err(format!(
                    "type `{name}`: precision must be 1 to 38, scale at most that"
                ));
            }
            return Ok(Self::Decimal { precision, scale });
        }
        if let Some(length) = name
            .strip_prefix("fixed[")
            .and_then(|rest| rest.strip_suffix(']'))
        {
            return length.trim().parse().map(Self::Fixed).map_err(|_| bad());
        }
        Ok(Self::Other(name.to_owned()))
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { precision, scale } => {
                return write!(f, "decimal({precision}, {scale})");
            }
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::TimestampNs => "timestamp_ns",
            Self::TimestamptzNs => "timestamptz_ns",
            Self::String => "string",
            Self::Uuid => "uuid",
            Self::Fixed(length) => return write!(f, "fixed[{length}]"),
            Self::Binary => "binary",
            Self::Other(name) => name,
        })
    }
}

impl Schema {
    pub(crate) fn read(at: At<'_>) -> Result<Self, Error> {
        let schema = Self {
            schema_id: optional!(at, "schema-id", i32).unwrap_or(0),
            root: StructType::read(at)?,
            identifier_field_ids: match at.get("identifier-field-ids")? {
                Some(ids) => ids.each(|id| id.i32())?,
                None => Vec::new(),
            },
        };
        let mut ids = HashSet::new();
        let mut twice = None;
        schema.walk(&mut |field| {
            if !ids.insert(field.id) {
                twice = Some(field.id);
            }
        });
        match twice {
            Some(id) => Err(at.error(format!("field id {id} stands twice"))),
            None => Ok(schema),
        }
    }

    /// The form used in metadata documents and requests.
    pub fn to_json(&self) -> Value {
        let mut schema = Map::new();
        schema.insert("type".into(), "struct".into());
        schema.insert("schema-id".into(), self.schema_id.into());
        schema.insert("fields".into(), self.root.fields_json());
        if !self.identifier_field_ids.is_empty() {
            schema.insert(
                "identifier-field-ids".into(),
                self.identifier_field_ids.clone().into(),
            );
        }
        schema.into()
    }

    /// The field with this id, at any depth.
    pub fn field(&self, id: i32) -> Option<&Field> {
        fn find(fields: Vec<&Field>, id: i32) -> Option<&Field> {
            fields.into_iter().find_map(|field| {
                if field.id == id {
                    Some(field)
                } else {
                    find(field.ty.children(), id)
                }
            })
        }
        find(self.root.fields.iter().collect(), id)
    }

    /// The full name of a field, its parents' names before it, joined by dots.
    pub fn name_of(&self, id: i32) -> Option<String> {
        fn find(fields: Vec<&Field>, id: i32) -> Option<String> {
            fields.into_iter().find_map(|field| {
                if field.id == id {
                    return Some(field.name.clone());
                }
                find(field.ty.children(), id).map(|rest| format!("{}.{rest}", field.name))
            })
        }
        find(self.root.fields.iter().collect(), id)
    }

    /// The largest field id in it, 0 when it has no field.
    pub fn highest_field_id(&self) -> i32 {
        let mut highest = 0;
        self.walk(&mut |field| highest = highest.max(field.id));
        highest
    }

    /// Calls `visit` for every field, parents first.
    pub fn walk(&self, visit: &mut dyn FnMut(&Field)) {
        fn each(fields: Vec<&Field>, visit: &mut dyn FnMut(&Field)) {
            for field in fields {
                visit(field);
                each(field.ty.children(), visit);
            }
        }
        each(self.root.fields.iter().collect(), visit);
    }

    /// Whether both have the same columns, whatever their ids as schemas are.
    pub(crate) fn same_columns(&self, other: &Self) -> bool {
        self.root == other.root && self.identifier_field_ids == other.identifier_field_ids
    }
}

serde_by_json!(Schema, "schema");

#[cfg(test)]
mod tests {
    use super::*;

    fn nested() -> Value {
        json!({"type": "struct", "schema-id": 3, "identifier-field-ids": [1], "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long", "doc": "the key"},
            {"id": 2, "name": "tags", "required": false, "type": {
                "type": "map", "key-id": 3, "key": "string", "value-id": 4, "value-required": false,
                "value": {"type": "list", "element-id": 5, "element-required": true, "element":
                    {"type": "struct", "fields": [
                        {"id": 6, "name": "price", "required": false, "type": "decimal(9, 2)"},
                        {"id": 7, "name": "hash", "required": false, "type": "fixed[16]"},
                        {"id": 8, "name": "shape", "required": false, "type": "geometry(srid:1)"},
                    ]}}}},
        ]})
    }

    #[test]
    fn a_schema_is_written_as_it_was_read() {
        let schema: Schema = serde_json::from_value(nested()).unwrap();
        assert_eq!(serde_json::to_value(&schema).unwrap(), nested());
        assert_eq!(schema.highest_field_id(), 8);
        assert_eq!(
            schema.name_of(6).as_deref(),
            Some("tags.value.element.price")
        );
        let price = Type::Primitive(Primitive::Decimal {
            precision: 9,
            scale: 2,
        });
        assert_eq!(schema.field(6).unwrap().ty, price);
        assert!(schema.field(9).is_none());
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Value), want: &str) {
        let mut value = nested();
        change(&mut value);
        let error = serde_json::from_value::<Schema>(value)
            .unwrap_err()
            .to_string();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_bad_schema_is_refused_by_field() {
        refused(|v| v["fields"][0]["type"] = json!(7), "fields[0].type");
        refused(
            |v| v["fields"][0]["type"] = json!("decimal(39,1)"),
            "precision must be",
        );
        refused(
            |v| v["fields"][0]["type"] = json!("fixed[x]"),
            "cannot be read",
        );
        refused(
            |v| v["fields"][0]["type"] = json!({"type": "set"}),
            "no nested type",
        );
        refused(
            |v| v["fields"][0]["id"] = json!(7),
            "field id 7 stands twice",
        );
        refused(
            |v| v["fields"][1]["name"] = json!("id"),
            "`id` stands twice",
        );
        refused(
            |v| v["fields"][1]["type"]["value"]["element"]["fields"][0]["id"] = json!(1.5),
            "fields[1].type.value.element.fields[0].id",
        );
    }
}
