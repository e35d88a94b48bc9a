//! Partition specs: which transforms of which columns place a row in a partition.

use serde_json::{Map, Value};

use crate::json::{At, optional, serde_by_json};
use crate::literal::text;
use crate::{Error, Literal};

mod murmur3;
mod transform;

pub use transform::Transform;

/// Partition field ids start here (spec, "Partition Evolution").
pub(crate) const FIRST_PARTITION_FIELD_ID: i32 = 1000;
/// Field id of a partition field that has none yet.
pub(crate) const UNASSIGNED: i32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSpec {
    pub spec_id: i32,
    /// Empty: unpartitioned.
    pub fields: Vec<PartitionField>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The column the value is made of.
    pub source_id: i32,
    /// The partition field's own id; 0 in a request asks for a new one.
    pub field_id: i32,
    pub name: String,
    pub transform: Transform,
}

impl PartitionSpec {
    /// The spec of a table without partitions.
    pub fn unpartitioned() -> Self {
        Self::default()
    }

    /// Reads a whole spec, or (format v1, `partition-spec`) only its fields.
    pub(crate) fn read(at: At<'_>) -> Result<Self, Error> {
        if at.value().is_array() {
            return Ok(Self {
                spec_id: 0,
                fields: at.each(PartitionField::read)?,
            });
        }
        Ok(Self {
            spec_id: optional!(at, "spec-id", i32).unwrap_or(0),
            fields: at.require("fields")?.each(PartitionField::read)?,
        })
    }

    /// The form used in metadata documents and requests.
    pub fn to_json(&self) -> Value {
        let mut spec = Map::new();
        spec.insert("spec-id".into(), self.spec_id.into());
        spec.insert("fields".into(), self.fields_json());
        spec.into()
    }

    pub(crate) fn fields_json(&self) -> Value {
        self.fields.iter().map(PartitionField::to_json).collect()
    }

    /// A partition as Java writes it into paths: `region=eu/day=2026-01-01`, names and values
    /// URL-encoded; empty when unpartitioned. Values beyond the spec's fields are left out.
    pub fn path(&self, partition: &[Option<Literal>]) -> String {
        let parts = self.fields.iter().zip(partition).map(|(field, value)| {
            let value = field.transform.human(value.as_ref());
            format!(
                "{}={}",
                text::form_encoded(&field.name),
                text::form_encoded(&value)
            )
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Gives fields without an id the next ones after `last`; returns the highest id in use.
    pub(crate) fn assign_ids(&mut self, last: i32) -> i32 {
        let given = self
            .fields
            .iter()
            .map(|field| field.field_id)
            .max()
            .unwrap_or(last);
        let mut last = last.max(given);
        for field in self
            .fields
            .iter_mut()
            .filter(|field| field.field_id == UNASSIGNED)
        {
            last += 1;
            field.field_id = last;
        }
        last
    }

    /// Whether both place rows in the same way, whatever their ids as specs are.
    pub(crate) fn same_fields(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl PartitionField {
    fn read(at: At<'_>) -> Result<Self, Error> {
        let (source_id, transform) = read_source(at)?;
        Ok(Self {
            source_id,
            field_id: optional!(at, "field-id", i32).unwrap_or(UNASSIGNED),
            name: at.require("name")?.str()?.to_owned(),
            transform,
        })
    }

    fn to_json(&self) -> Value {
        let mut field = Map::new();
        field.insert("source-id".into(), self.source_id.into());
        if self.field_id != UNASSIGNED {
            field.insert("field-id".into(), self.field_id.into());
        }
        field.insert("name".into(), self.name.clone().into());
        field.insert("transform".into(), self.transform.to_string().into());
        field.into()
    }
}

/// The column and the transform of a partition or sort field.
pub(crate) fn read_source(at: At<'_>) -> Result<(i32, Transform), Error> {
    let transform = at.require("transform")?.str()?;
    if let Some(source) = at.get("source-id")? {
        return Ok((source.i32()?, Transform::parse(transform)));
    }
    // Format v3: a transform of several columns, none of which is known yet.
    let sources = at.require("source-ids")?.each(|id| id.i32())?;
    Ok((
        sources.first().copied().unwrap_or(0),
        Transform::Unknown(transform.to_owned()),
    ))
}

serde_by_json!(PartitionSpec, "partition spec");

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fields: &[(&str, Transform)]) -> PartitionSpec {
        let field = |(at, (name, transform)): (usize, &(&str, Transform))| PartitionField {
            source_id: at as i32 + 1,
            field_id: FIRST_PARTITION_FIELD_ID + at as i32,
            name: (*name).to_owned(),
            transform: transform.clone(),
        };
        PartitionSpec {
            spec_id: 1,
            fields: fields.iter().enumerate().map(field).collect(),
        }
    }

    #[test]
    fn paths_are_written_as_java_writes_them() {
        let spec = spec(&[
            ("region name", Transform::Identity),
            ("day", Transform::Day),
            ("b", Transform::Bucket(4)),
            ("gone", Transform::Void),
        ]);
        let values = [
            Some(Literal::String("eu/größe *~".into())),
            Some(Literal::Date(20_454)),
            Some(Literal::Int(3)),
            None,
        ];
        assert_eq!(
            spec.path(&values),
            "region+name=eu%2Fgr%C3%B6%C3%9Fe+*%7E/day=2026-01-01/b=3/gone=null"
        );
        assert_eq!(PartitionSpec::unpartitioned().path(&[]), "");
    }

    #[test]
    fn new_fields_get_ids_after_all_that_were_ever_given() {
        let mut spec = spec(&[("a", Transform::Identity), ("b", Transform::Identity)]);
        spec.fields[1].field_id = UNASSIGNED;
        assert_eq!(spec.assign_ids(1004), 1005);
        assert_eq!(spec.fields[1].field_id, 1005);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<PartitionSpec>(json).unwrap(), spec);
    }
}
