//! Which partition of the output spec each row of an input belongs to.
//!
//! Values are those of `metadata::Transform`, row by row over Arrow columns, so there is one
//! definition of them. Start at [`Splitter::split`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use metadata::{Field, Literal, PartitionField, PartitionSpec, Primitive, Schema, Transform, Type};
use parquet::errors::ParquetError;
use storage::Storage;
use tokio_util::sync::CancellationToken;

use super::decode::Sources;
use super::input::Input;
use super::layout::{InputRows, Slice, select};
use super::row_group::{Machine, TASK_BYTES};
use crate::Error;
use crate::files::schema::WriteSchema;
use crate::files::shape::Origin;
use crate::files::sound::{guarded, pages};
use crate::files::source::Fetched;

/// Rows looked at at once.
const BATCH_ROWS: usize = 16 * 1024;
/// Partitions the rows of one group may lie in: each becomes a file at least.
pub(super) const PARTITIONS_MAX: usize = 10_000;

/// The values under a spec.
pub(super) type Partition = Vec<Option<Literal>>;

/// How one spec places a row.
#[derive(Debug)]
pub(super) struct Partitioning {
    spec_id: i32,
    /// `None`: always null.
    fields: Vec<Option<PlacedBy>>,
}

#[derive(Debug)]
struct PlacedBy {
    transform: Transform,
    /// The top-level column of the source.
    column: usize,
    /// From the column down through structs to the source.
    path: Vec<usize>,
    ty: Primitive,
}

impl Partitioning {
    /// Fails when the spec cannot place rows of this schema.
    pub(super) fn new(spec: &PartitionSpec, schema: &Schema) -> Result<Self, Error> {
        let field = |field: &PartitionField| match field.transform {
            Transform::Void => Ok(None),
            _ => placed_by(field, schema).map(Some).map_err(|why| {
                Error::Refused(format!(
                    "rows cannot be placed under spec {}: {why}",
                    spec.spec_id
                ))
            }),
        };
        Ok(Self {
            spec_id: spec.spec_id,
            fields: spec.fields.iter().map(field).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn too_many(&self) -> Error {
        Error::NotWorth(format!(
            "its rows lie in more than {PARTITIONS_MAX} partitions of spec {}; left under the old spec",
            self.spec_id
        ))
    }

    fn columns(&self) -> BTreeSet<usize> {
        let fields = self.fields.iter().flatten();
        fields.map(|field| field.column).collect()
    }

    /// The partition of one row; `arrays` holds the columns the fields are made of.
    fn place(&self, arrays: &HashMap<usize, ArrayRef>, row: usize, place: &mut Partition) {
        place.clear();
        place.extend(self.fields.iter().map(|field| {
            let field = field.as_ref()?;
            let mut array = arrays.get(&field.column)?;
            for child in &field.path {
                if array.is_null(row) {
                    return None;
                }
                array = array.as_struct().column(*child);
            }
            let value = field.transform.apply(&literal(array, row, &field.ty)?)?;
            Some(one_nan(value))
        }));
    }
}

fn placed_by(field: &PartitionField, schema: &Schema) -> Result<PlacedBy, String> {
    let name = &field.name;
    let Some((column, path, source)) = find(&schema.root.fields, field.source_id) else {
        return Err(format!("the column {name} is made of was dropped"));
    };
    let transform = field.transform.clone();
    match source.ty.primitive() {
        Some(ty) if transform.takes(ty) => Ok(PlacedBy {
            transform,
            column,
            path,
            ty: ty.clone(),
        }),
        _ => Err(format!(
            "{name} is {transform} of {}, which is of another type",
            source.name
        )),
    }
}

/// The field of that id: its top-level column and the way down to it through structs.
fn find(fields: &[Field], id: i32) -> Option<(usize, Vec<usize>, &Field)> {
    fields.iter().enumerate().find_map(|(position, field)| {
        if field.id == id {
            return Some((position, Vec::new(), field));
        }
        let Type::Struct(inner) = &field.ty else {
            return None;
        };
        let (child, mut path, found) = find(&inner.fields, id)?;
        path.insert(0, child);
        Some((position, path, found))
    })
}

/// Every NaN is one partition, as for Java.
fn one_nan(value: Literal) -> Literal {
    match value {
        Literal::Float(value) if value.is_nan() => Literal::Float(f32::NAN),
        Literal::Double(value) if value.is_nan() => Literal::Double(f64::NAN),
        other => other,
    }
}

/// One value of an array in the write schema's form; `None` when null.
pub(super) fn literal(array: &ArrayRef, row: usize, ty: &Primitive) -> Option<Literal> {
    if array.is_null(row) {
        return None;
    }
    Some(match ty {
        Primitive::Boolean => Literal::Boolean(array.as_boolean().value(row)),
        Primitive::Int => Literal::Int(array.as_primitive::<Int32Type>().value(row)),
        Primitive::Long => Literal::Long(array.as_primitive::<Int64Type>().value(row)),
        Primitive::Float => Literal::Float(array.as_primitive::<Float32Type>().value(row)),
        Primitive::Double => Literal::Double(array.as_primitive::<Float64Type>().value(row)),
        Primitive::Decimal { scale, .. } => Literal::Decimal {
            unscaled: array.as_primitive::<Decimal128Type>().value(row),
            scale: *scale,
        },
        Primitive::Date => Literal::Date(array.as_primitive::<Date32Type>().value(row)),
        Primitive::Time => Literal::Time(array.as_primitive::<Time64MicrosecondType>().value(row)),
        Primitive::Timestamp => {
            Literal::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        Primitive::Timestamptz => {
            Literal::Timestamptz(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        Primitive::String => Literal::String(array.as_string_view().value(row).to_owned()),
        Primitive::Uuid => {
            let bytes = array.as_fixed_size_binary().value(row);
            Literal::Uuid(uuid::Uuid::from_slice(bytes).ok()?)
        }
        Primitive::Fixed(_) => Literal::Fixed(array.as_fixed_size_binary().value(row).to_vec()),
        Primitive::Binary => Literal::Binary(array.as_binary_view().value(row).to_vec()),
        // A schema with another type is refused before a file is opened.
        _ => return None,
    })
}

/// Splits inputs of one group.
#[derive(Debug)]
pub(super) struct Splitter {
    pub(super) partitioning: Arc<Partitioning>,
    pub(super) schema: Arc<WriteSchema>,
    pub(super) storage: Storage,
    pub(super) machine: Machine,
    pub(super) stop: CancellationToken,
}

/// The partitions one input's live rows lie in, and which rows those are.
pub(super) type Split = Vec<(Partition, InputRows)>;

impl Splitter {
    pub(super) async fn split(&self, input: &Input) -> Result<Split, Error> {
        if u32::try_from(input.rows.records).is_err() {
            return Err(Error::Refused(format!(
                "{} has {} rows, too many to be split among partitions",
                input.file.location, input.rows.records
            )));
        }
        let all = Slice {
            of: Arc::clone(&input.rows),
            rows: 0..input.rows.records,
        };
        let selected = select(&input.file.group_rows(), &all);
        let roots = self.roots(input);
        let groups = &selected.row_groups;
        let bytes = if input.file.small() {
            input.file.size - input.file.kept_bytes()
        } else {
            let bytes = roots
                .iter()
                .map(|root| input.file.column_bytes(*root, groups));
            bytes.sum()
        };
        let room = self.machine.room(bytes + TASK_BYTES).await;
        let fetched = if let Some(whole) = input.file.whole(&self.storage).await? {
            Fetched::whole(whole)
        } else {
            input.file.fetch(&self.storage, &roots, groups).await?
        };
        let sources = Sources {
            location: input.file.location.clone(),
            footer: input.file.footer.clone(),
            fetched,
            selected,
            roots,
            columns: self
                .partitioning
                .columns()
                .into_iter()
                .map(|column| (column, input.columns[column].clone()))
                .collect(),
        };
        let (partitioning, schema) = (Arc::clone(&self.partitioning), Arc::clone(&self.schema));
        let (rows, stop) = (Arc::clone(&input.rows), self.stop.clone());
        let core = self.machine.core().await;
        let run = tokio::task::spawn_blocking(move || {
            let _held = (core, room);
            guarded(&sources.location, || {
                split(&partitioning, &schema, &sources, &rows, &stop)
            })
        });
        run.await.map_err(|lost| Error::Lost(lost.to_string()))?
    }

    /// The file's top-level fields the partitions are made of.
    fn roots(&self, input: &Input) -> Vec<usize> {
        let columns = self.partitioning.columns().into_iter();
        let roots: BTreeSet<usize> = columns
            .filter_map(|column| match &input.columns[column] {
                Origin::Column(root, _) => Some(*root),
                Origin::Partition(_) | Origin::Nulls => None,
            })
            .collect();
        roots.into_iter().collect()
    }
}

/// Blocks: runs on a thread of its own.
fn split(
    partitioning: &Partitioning,
    schema: &WriteSchema,
    sources: &Sources,
    rows: &InputRows,
    stop: &CancellationToken,
) -> Result<Split, Error> {
    let live = rows.live(&(0..rows.records));
    let positions = rows.runs(&(0..rows.records)).into_iter().flatten();
    let mut found = Found::new(partitioning, positions);
    if sources.roots.is_empty() {
        // Every row has the same values.
        let arrays = sources.arrays(schema, &[], 1);
        let arrays = arrays.map_err(|source| sources.decode(source))?;
        for _ in 0..live {
            found.add(&arrays, 0)?;
        }
    } else {
        pages(
            &sources.location,
            &sources.fetched,
            sources.footer.metadata(),
            &sources.roots,
            &sources.selected.row_groups,
        )?;
        for batch in sources
            .reader(BATCH_ROWS)
            .map_err(|source| sources.decode(source))?
        {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let batch = batch.map_err(|source| sources.decode(ParquetError::from(source)))?;
            let arrays = sources.arrays(schema, batch.columns(), batch.num_rows());
            let arrays = arrays.map_err(|source| sources.decode(source))?;
            for row in 0..batch.num_rows() {
                found.add(&arrays, row)?;
            }
        }
    }
    let placed: u64 = found.rows.iter().map(|rows| rows.len() as u64).sum();
    if placed != live {
        return Err(Error::BadFile {
            location: sources.location.clone(),
            why: format!("{placed} rows could be read, {live} were due"),
        });
    }
    let rows_of = |(place, mut positions): (Partition, Vec<u32>)| {
        positions.shrink_to_fit();
        (place, rows.only(positions))
    };
    Ok(found
        .places
        .into_iter()
        .zip(found.rows)
        .map(rows_of)
        .collect())
}

/// The partitions of one input met so far.
struct Found<'a, P> {
    partitioning: &'a Partitioning,
    /// Of the rows that are read, in their order.
    positions: P,
    places: Vec<Partition>,
    rows: Vec<Vec<u32>>,
    indices: HashMap<Partition, usize>,
    /// The row looked at, and the index of the one before.
    place: Partition,
    last: usize,
}

impl<'a, P: Iterator<Item = u64>> Found<'a, P> {
    fn new(partitioning: &'a Partitioning, positions: P) -> Self {
        Self {
            partitioning,
            positions,
            places: Vec::new(),
            rows: Vec::new(),
            indices: HashMap::new(),
            place: Partition::new(),
            last: 0,
        }
    }

    fn add(&mut self, arrays: &HashMap<usize, ArrayRef>, row: usize) -> Result<(), Error> {
        self.partitioning.place(arrays, row, &mut self.place);
        if self.places.get(self.last) != Some(&self.place) {
            self.last = match self.indices.get(&self.place) {
                Some(index) => *index,
                None => self.met()?,
            };
        }
        // More rows than positions, or positions past 32 bits, are seen by the counts.
        let position = self.positions.next();
        let position = position.and_then(|position| u32::try_from(position).ok());
        self.rows[self.last].extend(position);
        Ok(())
    }

    fn met(&mut self) -> Result<usize, Error> {
        let index = self.places.len();
        if index == PARTITIONS_MAX {
            return Err(self.partitioning.too_many());
        }
        self.places.push(self.place.clone());
        self.rows.push(Vec::new());
        self.indices.insert(self.place.clone(), index);
        Ok(index)
    }
}

#[cfg(test)]
mod tests;
