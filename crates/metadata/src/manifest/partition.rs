//! Partition values: their types by spec, how manifests encode them, and their summaries.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::read::{binary, boolean, int, long, optional, text};
use super::{FieldSummary, ManifestFile, schema};
use crate::avro::{Column, Container, Cursor, Encoder, Kind, Malformed, Node};
use crate::spec::FIRST_PARTITION_FIELD_ID;
use crate::{Literal, PartitionField, PartitionSpec, Primitive, Schema, TableMetadata, Transform};

/// One partition field with the type of its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PartitionColumn {
    pub(super) field_id: i32,
    pub(super) name: String,
    /// `None` when no schema we have knows the source column.
    pub(super) ty: Option<Primitive>,
    /// Always null.
    pub(super) void: bool,
}

/// The partition columns of every spec of a table.
#[derive(Debug, Default)]
pub(crate) struct SpecTypes {
    specs: HashMap<i32, Vec<PartitionColumn>>,
}

impl SpecTypes {
    pub(crate) fn of(table: &TableMetadata) -> Self {
        let specs = table.specs().iter();
        Self {
            specs: specs
                .map(|spec| (spec.spec_id, columns(spec, table)))
                .collect(),
        }
    }

    pub(super) fn spec(&self, spec_id: i32) -> Option<&[PartitionColumn]> {
        self.specs.get(&spec_id).map(Vec::as_slice)
    }
}

/// Whether the table's schemas still tell the types of a spec's values: else no manifest of it can be
/// written, and values written under different types cannot be compared.
pub fn is_typed(table: &TableMetadata, spec_id: i32) -> bool {
    let spec = table.spec(spec_id);
    spec.is_some_and(|spec| {
        columns(spec, table)
            .iter()
            .all(|column| column.ty.is_some())
    })
}

/// A spec's columns, typed by the current schema or else by the newest one that knows the source.
pub(super) fn columns(spec: &PartitionSpec, table: &TableMetadata) -> Vec<PartitionColumn> {
    let schemas = || std::iter::once(table.current_schema()).chain(table.schemas().iter().rev());
    typed(spec, |id| {
        schemas().find_map(|schema| primitive(schema, id))
    })
}

fn primitive(schema: &Schema, id: i32) -> Option<Primitive> {
    schema.field(id)?.ty.primitive().cloned()
}

/// The columns a manifest's own header declares: the spec and schema it was written under.
fn header_columns(container: &Container<'_>) -> Option<Vec<PartitionColumn>> {
    let mut spec: PartitionSpec = serde_json::from_str(container.text("partition-spec")?).ok()?;
    // Early format v1 writers left ids out.
    spec.assign_ids(FIRST_PARTITION_FIELD_ID - 1);
    let schema = container
        .text("schema")
        .and_then(|text| serde_json::from_str::<Schema>(text).ok());
    let source = |id: i32| schema.as_ref().and_then(|schema| primitive(schema, id));
    Some(typed(&spec, source))
}

fn typed(spec: &PartitionSpec, source: impl Fn(i32) -> Option<Primitive>) -> Vec<PartitionColumn> {
    let column = |field: &PartitionField| PartitionColumn {
        field_id: field.field_id,
        name: field.name.clone(),
        ty: match &field.transform {
            // What it results in only its writer knows.
            Transform::Unknown(_) => None,
            transform => source(field.source_id).map(|source| transform.result_type(&source)),
        },
        void: field.transform == Transform::Void,
    };
    spec.fields.iter().map(column).collect()
}

/// Reads partition records of one manifest.
#[derive(Debug)]
pub(super) struct PartitionReader {
    columns: Vec<PartitionColumn>,
    /// Per field of the written record.
    steps: Vec<Step>,
}

/// One field of the written record: skipped where the spec does not know it.
#[derive(Debug)]
struct Step {
    target: Option<Target>,
    node: Arc<Node>,
}

/// Where a value goes, and its type.
#[derive(Debug)]
struct Target {
    index: usize,
    ty: Primitive,
}

impl PartitionReader {
    pub(super) fn compile(
        container: &Container<'_>,
        record: &Node,
        manifest: &ManifestFile,
        types: &SpecTypes,
    ) -> Result<Self, Malformed> {
        let written = record
            .columns()
            .ok_or_else(|| Malformed::new("a partition is no record"))?;
        let columns = Self::declared(container, manifest, types)?;
        let mut reader = Self {
            columns,
            steps: Vec::with_capacity(written.len()),
        };
        for field in written {
            let index = reader.position(field);
            let target = index.map(|index| {
                let physical = || physical(&field.declared["type"], &field.node);
                let ty = reader.columns[index]
                    .ty
                    .get_or_insert_with(physical)
                    .clone();
                Target { index, ty }
            });
            let node = field.node.clone();
            reader.steps.push(Step { target, node });
        }
        reader.complete()
    }

    /// The spec's columns. Types are those the table has now: a value written before its column
    /// was widened must equal one written after, or deletes would miss its files.
    fn declared(
        container: &Container<'_>,
        manifest: &ManifestFile,
        types: &SpecTypes,
    ) -> Result<Vec<PartitionColumn>, Malformed> {
        let spec_id = manifest.partition_spec_id;
        let own_id = container
            .text("partition-spec-id")
            .and_then(|id| id.parse::<i32>().ok());
        if let Some(own_id) = own_id.filter(|own_id| *own_id != spec_id) {
            return Err(Malformed::new(format!(
                "written under partition spec {own_id} where the manifest list says {spec_id}"
            )));
        }
        let own = header_columns(container);
        let Some(known) = types.spec(spec_id) else {
            let why = || Malformed::new(format!("partition spec {spec_id} is unknown"));
            return own.ok_or_else(why);
        };
        let mut columns = known.to_vec();
        for column in columns.iter_mut().filter(|column| column.ty.is_none()) {
            let same = |other: &&PartitionColumn| other.field_id == column.field_id;
            column.ty = own
                .iter()
                .flatten()
                .find(same)
                .and_then(|own| own.ty.clone());
        }
        Ok(columns)
    }

    /// The column a written field belongs to: by id, or by name where its writer knew no ids.
    fn position(&self, field: &Column) -> Option<usize> {
        self.columns.iter().position(|column| match field.id {
            Some(id) => column.field_id == id,
            None => column.name == field.name || compatible_name(&column.name) == field.name,
        })
    }

    /// Refuses a record that lacks a value: it would read as null, which is another partition.
    fn complete(self) -> Result<Self, Malformed> {
        for (index, column) in self.columns.iter().enumerate() {
            let count = self.steps.iter().filter_map(|step| step.target.as_ref());
            let count = count.filter(|target| target.index == index).count();
            if count > 1 || (count == 0 && !column.void) {
                return Err(Malformed::new(format!(
                    "partition field {} ({}) is written {count} times",
                    column.field_id, column.name
                )));
            }
        }
        Ok(self)
    }

    pub(super) fn columns(&self) -> &[PartitionColumn] {
        &self.columns
    }

    pub(super) fn read(
        &self,
        cursor: &mut Cursor<'_>,
        node: &Node,
    ) -> Result<Vec<Option<Literal>>, Malformed> {
        if matches!(cursor.branch(node)?.kind, Kind::Null) {
            return Err(Malformed::new("an entry has no partition"));
        }
        let mut values = vec![None; self.columns.len()];
        for Step { target, node } in &self.steps {
            let Some(Target { index, ty }) = target else {
                cursor.skip(node)?;
                continue;
            };
            values[*index] = optional(cursor, node, |cursor, node| decode(cursor, node, ty))?;
        }
        Ok(values)
    }
}

/// The type a value's encoding alone tells, where no schema knows its column any more.
fn physical(declared: &Value, node: &Node) -> Primitive {
    let present = match declared {
        Value::Array(branches) => branches.iter().find(|branch| *branch != "null"),
        other => Some(other),
    };
    let logical = present
        .and_then(|ty| ty.get("logicalType"))
        .and_then(Value::as_str);
    let utc = present
        .and_then(|ty| ty.get("adjust-to-utc"))
        .and_then(Value::as_bool);
    match (&node.present().kind, logical) {
        (Kind::Boolean, _) => Primitive::Boolean,
        (Kind::Int, Some("date")) => Primitive::Date,
        (Kind::Int, _) => Primitive::Int,
        (Kind::Long, Some("time-micros")) => Primitive::Time,
        (Kind::Long, Some("timestamp-micros")) if utc == Some(true) => Primitive::Timestamptz,
        (Kind::Long, Some("timestamp-micros")) => Primitive::Timestamp,
        (Kind::Long, Some("timestamp-nanos")) if utc == Some(true) => Primitive::TimestamptzNs,
        (Kind::Long, Some("timestamp-nanos")) => Primitive::TimestampNs,
        (Kind::Long, _) => Primitive::Long,
        (Kind::Float, _) => Primitive::Float,
        (Kind::Double, _) => Primitive::Double,
        (Kind::String, _) => Primitive::String,
        (Kind::Fixed(16), Some("uuid")) => Primitive::Uuid,
        (Kind::Fixed(size), _) => Primitive::Fixed(*size as u64),
        _ => Primitive::Binary,
    }
}

fn decode(cursor: &mut Cursor<'_>, node: &Node, ty: &Primitive) -> Result<Literal, Malformed> {
    let literal = |bytes: &[u8]| {
        Literal::from_bytes(ty, bytes)
            .map_err(|error| Malformed::new(format!("partition value: {error}")))
    };
    match ty {
        Primitive::Boolean => literal(&[u8::from(boolean(cursor, node)?)]),
        Primitive::Int | Primitive::Date => literal(&int(cursor, node)?.to_le_bytes()),
        Primitive::Long => literal(&long(cursor, node)?.to_le_bytes()),
        Primitive::Time
        | Primitive::Timestamp
        | Primitive::Timestamptz
        | Primitive::TimestampNs
        | Primitive::TimestamptzNs => match node.kind {
            Kind::Long => literal(&cursor.long()?.to_le_bytes()),
            // A date, from before its column was widened: days are not microseconds.
            _ => Err(Malformed::new("a time is written as another type")),
        },
        Primitive::Float => match node.kind {
            Kind::Float => literal(&cursor.float()?.to_le_bytes()),
            _ => Err(Malformed::new("a float is written as another type")),
        },
        Primitive::Double => match node.kind {
            Kind::Float => literal(&f64::from(cursor.float()?).to_le_bytes()),
            Kind::Double => literal(&cursor.double()?.to_le_bytes()),
            _ => Err(Malformed::new("a double is written as another type")),
        },
        Primitive::Uuid if matches!(node.kind, Kind::String) => {
            let value = text(cursor, node)?;
            let uuid = uuid::Uuid::parse_str(&value)
                .map_err(|_| Malformed::new(format!("{value:?} is no UUID")))?;
            literal(uuid.as_bytes())
        }
        Primitive::String
        | Primitive::Uuid
        | Primitive::Fixed(_)
        | Primitive::Binary
        | Primitive::Decimal { .. } => literal(&binary(cursor, node)?),
        Primitive::Other(name) => Err(Malformed::new(format!(
            "partition values of type {name} are not supported"
        ))),
    }
}

/// Encodes one value of a `["null", T]` partition field.
pub(super) fn encode(
    out: &mut Encoder,
    value: Option<&Literal>,
    ty: &Primitive,
) -> Result<(), String> {
    let Some(value) = value else {
        out.long(0);
        return Ok(());
    };
    let misfit = || format!("partition value {value} is no {ty}");
    let bytes = value.to_bytes();
    out.long(1);
    match ty {
        Primitive::Boolean if bytes.len() == 1 => out.raw(&bytes),
        Primitive::Int | Primitive::Date if bytes.len() == 4 => {
            out.long(little_endian(&bytes).ok_or_else(misfit)?);
        }
        Primitive::Long
        | Primitive::Time
        | Primitive::Timestamp
        | Primitive::Timestamptz
        | Primitive::TimestampNs
        | Primitive::TimestamptzNs => out.long(little_endian(&bytes).ok_or_else(misfit)?),
        Primitive::Float if bytes.len() == 4 => out.raw(&bytes),
        Primitive::Double => match (<[u8; 8]>::try_from(&*bytes), <[u8; 4]>::try_from(&*bytes)) {
            (Ok(double), _) => out.raw(&double),
            (_, Ok(float)) => out.raw(&f64::from(f32::from_le_bytes(float)).to_le_bytes()),
            _ => return Err(misfit()),
        },
        Primitive::String | Primitive::Binary => out.bytes(&bytes),
        Primitive::Uuid if bytes.len() == 16 => out.raw(&bytes),
        Primitive::Fixed(size) if bytes.len() as u64 == *size => out.raw(&bytes),
        Primitive::Decimal { precision, .. } => {
            let size = decimal_bytes(*precision);
            let fill = size.checked_sub(bytes.len()).ok_or_else(misfit)?;
            let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
            out.raw(&vec![if negative { 0xff } else { 0 }; fill]);
            out.raw(&bytes);
        }
        _ => return Err(misfit()),
    }
    Ok(())
}

/// Numbers of 4 or 8 bytes, so that a value written before its column was widened fits too.
fn little_endian(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
        8 => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Bytes of a two's complement number with this many decimal digits.
fn decimal_bytes(precision: u32) -> usize {
    let bits = f64::from(precision) * std::f64::consts::LOG2_10;
    (bits.floor() as usize + 1 + 1).div_ceil(8)
}

/// The Avro schema of a partition record.
pub(super) fn record_schema(columns: &[PartitionColumn]) -> Result<Value, String> {
    let mut names = Vec::new();
    let fields = columns
        .iter()
        .map(|column| {
            let ty = column.ty.as_ref().ok_or_else(|| {
                format!(
                    "no schema tells the type of partition field {}",
                    column.name
                )
            })?;
            let mut ty = avro_type(ty)?;
            if let Some(name) = ty.get("name").and_then(Value::as_str).map(str::to_owned) {
                // A name may be defined once, and not every reader follows references.
                if names.contains(&name) {
                    ty["name"] = json!(format!("{name}_{}", column.field_id));
                }
                names.push(name);
            }
            let name = compatible_name(&column.name);
            let mut field = schema::optional(column.field_id, &name, ty);
            if name != column.name {
                field["iceberg-field-name"] = json!(column.name);
            }
            Ok(field)
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(json!({"type": "record", "name": "r102", "fields": fields}))
}

/// Specification, appendix A.
fn avro_type(ty: &Primitive) -> Result<Value, String> {
    let timestamp = |unit: &str, utc: bool| {
        let logical = format!("timestamp-{unit}");
        json!({"type": "long", "logicalType": logical, "adjust-to-utc": utc})
    };
    Ok(match ty {
        Primitive::Boolean => json!("boolean"),
        Primitive::Int => json!("int"),
        Primitive::Long => json!("long"),
        Primitive::Float => json!("float"),
        Primitive::Double => json!("double"),
        Primitive::Date => json!({"type": "int", "logicalType": "date"}),
        Primitive::Time => json!({"type": "long", "logicalType": "time-micros"}),
        Primitive::Timestamp => timestamp("micros", false),
        Primitive::Timestamptz => timestamp("micros", true),
        Primitive::TimestampNs => timestamp("nanos", false),
        Primitive::TimestamptzNs => timestamp("nanos", true),
        Primitive::String => json!("string"),
        Primitive::Binary => json!("bytes"),
        Primitive::Uuid => {
            json!({"type": "fixed", "size": 16, "logicalType": "uuid", "name": "uuid_fixed"})
        }
        Primitive::Fixed(size) => {
            json!({"type": "fixed", "size": size, "name": format!("fixed_{size}")})
        }
        Primitive::Decimal { precision, scale } => json!({
            "type": "fixed", "size": decimal_bytes(*precision), "logicalType": "decimal",
            "precision": precision, "scale": scale, "name": format!("decimal_{precision}_{scale}"),
        }),
        Primitive::Other(name) => {
            return Err(format!("partition values of type {name} are not supported"));
        }
    })
}

/// A name Avro allows, made as Java's `AvroSchemaUtil.makeCompatibleName` does.
fn compatible_name(name: &str) -> String {
    use std::fmt::Write;
    let mut compatible = String::with_capacity(name.len());
    for (index, unit) in name.encode_utf16().enumerate() {
        match char::from_u32(u32::from(unit)) {
            Some(c) if c.is_ascii_alphabetic() || c == '_' => compatible.push(c),
            Some(c) if c.is_ascii_digit() => {
                if index == 0 {
                    compatible.push('_');
                }
                compatible.push(c);
            }
            _ => {
                let _ = write!(compatible, "_x{unit:X}");
            }
        }
    }
    compatible
}

/// Collects the range of every partition field over a manifest's entries.
#[derive(Debug)]
pub(super) struct Summaries {
    fields: Vec<Range>,
}

#[derive(Debug, Default)]
struct Range {
    contains_null: bool,
    contains_nan: bool,
    bounds: Option<(Literal, Literal)>,
}

impl Summaries {
    pub(super) fn new(fields: usize) -> Self {
        Self {
            fields: (0..fields).map(|_| Range::default()).collect(),
        }
    }

    pub(super) fn add(&mut self, partition: &[Option<Literal>]) {
        for (range, value) in self.fields.iter_mut().zip(partition) {
            match value {
                None => range.contains_null = true,
                Some(value) if is_nan(value) => range.contains_nan = true,
                Some(value) => range.widen(value),
            }
        }
    }

    pub(super) fn finish(self) -> Vec<FieldSummary> {
        let summary = |range: Range| {
            let (lower, upper) = range.bounds.unzip();
            FieldSummary {
                contains_null: range.contains_null,
                contains_nan: Some(range.contains_nan),
                lower_bound: lower.map(|value| value.to_bytes()),
                upper_bound: upper.map(|value| value.to_bytes()),
            }
        };
        self.fields.into_iter().map(summary).collect()
    }
}

impl Range {
    fn widen(&mut self, value: &Literal) {
        match &mut self.bounds {
            None => self.bounds = Some((value.clone(), value.clone())),
            Some((lower, upper)) => {
                if value < lower {
                    *lower = value.clone();
                }
                if value > upper {
                    *upper = value.clone();
                }
            }
        }
    }
}

fn is_nan(value: &Literal) -> bool {
    match value {
        Literal::Float(value) => value.is_nan(),
        Literal::Double(value) => value.is_nan(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_compatible_as_java_does() {
        assert_eq!(compatible_name("day"), "day");
        assert_eq!(compatible_name("9x"), "_9x");
        assert_eq!(compatible_name("a.b-c"), "a_x2Eb_x2Dc");
    }

    #[test]
    fn decimals_take_the_bytes_the_specification_says() {
        // 10^p - 1 must fit two's complement.
        for precision in 1..=38 {
            let largest = 10i128.pow(precision) - 1;
            let needed = (1..=16)
                .find(|bytes| *bytes == 16 || largest < 1i128 << (8 * bytes - 1))
                .unwrap();
            assert_eq!(decimal_bytes(precision), needed, "precision {precision}");
        }
    }
}
