//! Random histories of appends and equality deletes over every type, against a model that compares
//! row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use catalog::{Catalog, NewTable};
use lake::{Changes, FileWriter, arrow_schema, commit_changes, key_schema};
use metadata::{Field, PartitionSpec, Primitive, Schema, StructType, Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::world::World;

/// Which value of a column's few: 0 is null.
type Pick = usize;

/// Values a column has, null included.
const PICKS: u64 = 4;
const HISTORIES: u64 = 10;

/// Field ids from 2 on; 1 is the row's number.
fn types() -> Vec<Primitive> {
    let decimal = |precision, scale| Primitive::Decimal { precision, scale };
    vec![
        Primitive::Boolean,
        Primitive::Int,
        Primitive::Long,
        Primitive::Float,
        Primitive::Double,
        decimal(9, 2),
        decimal(38, 10),
        Primitive::Date,
        Primitive::Time,
        Primitive::Timestamp,
        Primitive::Timestamptz,
        Primitive::String,
        Primitive::Uuid,
        Primitive::Fixed(3),
        Primitive::Binary,
    ]
}

fn schema() -> Schema {
    let number = Field::new(1, "row", true, Type::Primitive(Primitive::Long));
    let columns = types().into_iter().zip(2..).map(|(ty, id)| {
        let name = format!("c{id}");
        Field::new(id, name, false, Type::Primitive(ty))
    });
    Schema {
        schema_id: 0,
        root: StructType {
            fields: std::iter::once(number).chain(columns).collect(),
        },
        identifier_field_ids: Vec::new(),
    }
}

/// The column's values; NaN is written in one of two forms.
fn column(ty: &Primitive, picks: &[Pick], form: u64) -> ArrayRef {
    fn of<T: Copy>(picks: &[Pick], values: [T; 3]) -> Vec<Option<T>> {
        let value = |pick: &Pick| pick.checked_sub(1).map(|at| values[at]);
        picks.iter().map(value).collect()
    }
    let nan = if form == 0 { 1.0 } else { -1.0 };
    let fixed = |length: i32, values: [&'static [u8]; 3]| -> ArrayRef {
        let values = of(picks, values).into_iter();
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, length).unwrap())
    };
    match ty {
        // Of two values, for null is the third.
        Primitive::Boolean => Arc::new(BooleanArray::from(of(picks, [true, false, true]))),
        Primitive::Int => Arc::new(Int32Array::from(of(picks, [-1, 0, 7]))),
        Primitive::Long => Arc::new(Int64Array::from(of(picks, [-1, 0, 7]))),
        Primitive::Float => {
            let nan = f32::NAN.copysign(nan);
            Arc::new(Float32Array::from(of(picks, [nan, -0.0, 0.0])))
        }
        Primitive::Double => {
            let nan = f64::NAN.copysign(nan.into());
            Arc::new(Float64Array::from(of(picks, [nan, -0.0, 0.0])))
        }
        Primitive::Decimal { precision, scale } => {
            let values = Decimal128Array::from(of(picks, [-1, 0, 7]));
            let (precision, scale) = (*precision as u8, *scale as i8);
            Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
        }
        Primitive::Date => Arc::new(Date32Array::from(of(picks, [-1, 0, 7]))),
        Primitive::Time => Arc::new(Time64MicrosecondArray::from(of(picks, [0, 1, 86_000_000]))),
        Primitive::Timestamp => Arc::new(TimestampMicrosecondArray::from(of(picks, [-1, 0, 7]))),
        Primitive::Timestamptz => {
            let values = TimestampMicrosecondArray::from(of(picks, [-1, 0, 7]));
            Arc::new(values.with_timezone("UTC"))
        }
        Primitive::String => {
            let values = ["", "a", "größe, longer than a view"];
            Arc::new(StringViewArray::from(of(picks, values)))
        }
        Primitive::Uuid => fixed(16, [&[0; 16], &[1; 16], &[255; 16]]),
        Primitive::Fixed(_) => fixed(3, [b"abc", b"abd", &[0; 3]]),
        Primitive::Binary => {
            let values: [&[u8]; 3] = [b"", b"\0", b"\0\0"];
            Arc::new(BinaryViewArray::from(of(picks, values)))
        }
        other => panic!("{other:?} is not in the schema"),
    }
}

/// What a pick of a column is equal to: booleans have two values only.
fn value(ty: &Primitive, pick: Pick) -> Pick {
    match (ty, pick) {
        (Primitive::Boolean, 3) => 1,
        _ => pick,
    }
}

/// Splitmix64: the same numbers for the same seed everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn picks(&mut self, count: usize) -> Vec<Pick> {
        (0..count).map(|_| self.below(PICKS) as Pick).collect()
    }
}

/// Rows by number: the commit that added each, and its picks by column.
#[derive(Default)]
struct Model {
    rows: BTreeMap<i64, (u64, Vec<Pick>)>,
    next: i64,
}

impl Model {
    /// Deletes rows added before `commit` that have these picks in `columns`.
    fn delete(&mut self, commit: u64, columns: &[usize], key: &[Pick]) {
        let types = types();
        self.rows.retain(|_, (added, picks)| {
            let same = columns
                .iter()
                .zip(key)
                .all(|(at, pick)| value(&types[*at], picks[*at]) == value(&types[*at], *pick));
            *added >= commit || !same
        });
    }
}

struct History<'a> {
    world: &'a World,
    dice: Dice,
    model: Model,
}

impl History<'_> {
    /// A data file of random rows.
    async fn append(&mut self, commit: u64, changes: &mut Changes) {
        let count = 20 + self.dice.below(60) as usize;
        let first = self.model.next;
        self.model.next += count as i64;
        let numbers: Vec<i64> = (first..self.model.next).collect();
        let columns: Vec<Vec<Pick>> = types().iter().map(|_| self.dice.picks(count)).collect();
        for (at, number) in numbers.iter().enumerate() {
            let picks = columns.iter().map(|column| column[at]).collect();
            self.model.rows.insert(*number, (commit, picks));
        }
        let table = self.world.table().await;
        let schema = arrow_schema(table.metadata.current_schema()).unwrap();
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers))];
        let form = self.dice.below(2);
        let typed = types();
        arrays.extend(
            typed
                .iter()
                .zip(&columns)
                .map(|(ty, picks)| column(ty, picks, form)),
        );
        let batch = RecordBatch::try_new(schema, arrays).unwrap();
        let writer = FileWriter::new(&table, "model").unwrap();
        changes
            .data
            .push(writer.data_file(vec![], &[batch]).await.unwrap());
    }

    /// A delete file of a few keys over one to three columns.
    async fn delete(&mut self, commit: u64, changes: &mut Changes) {
        let typed = types();
        let mut columns: Vec<usize> = (0..=self.dice.below(3))
            .map(|_| self.dice.below(typed.len() as u64) as usize)
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let count = 1 + self.dice.below(columns.len() as u64) as usize;
        let keys: Vec<Vec<Pick>> = columns.iter().map(|_| self.dice.picks(count)).collect();
        for at in 0..count {
            let key: Vec<Pick> = keys.iter().map(|picks| picks[at]).collect();
            self.model.delete(commit, &columns, &key);
        }
        let ids: Vec<i32> = columns.iter().map(|at| *at as i32 + 2).collect();
        let form = self.dice.below(2);
        let arrays = columns.iter().zip(&keys);
        let arrays = arrays
            .map(|(at, picks)| column(&typed[*at], picks, form))
            .collect();
        let table = self.world.table().await;
        let schema = Arc::new(key_schema(table.metadata.current_schema(), &ids));
        let batch = RecordBatch::try_new(arrow_schema(&schema).unwrap(), arrays).unwrap();
        let writer = FileWriter::new(&table, "model").unwrap();
        let file = writer
            .equality_deletes(vec![], &ids, &[batch])
            .await
            .unwrap();
        changes.deletes.push(file);
    }

    async fn commit(&mut self, number: u64) {
        let mut changes = Changes::default();
        let what = self.dice.below(4);
        if number == 0 || what < 2 {
            self.append(number, &mut changes).await;
        }
        if number > 0 && what > 0 {
            self.delete(number, &mut changes).await;
        }
        let now = self.world.now_ms().await;
        commit_changes(&*self.world.catalog, &self.world.name, &changes, now)
            .await
            .unwrap();
    }
}

/// The numbers of all rows the data files hold.
async fn numbers(world: &World) -> Vec<i64> {
    let mut numbers = Vec::new();
    for live in world.live().await.data {
        let file = std::fs::File::open(live.file.file_path.trim_start_matches("file://"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            numbers.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    numbers.sort_unstable();
    numbers
}

async fn run(world: &World, seed: u64) {
    let new = NewTable {
        schema: schema(),
        spec: PartitionSpec::unpartitioned(),
        properties: BTreeMap::from([("format-version".to_owned(), "2".to_owned())]),
        location: None,
    };
    world.catalog.create_table(&world.name, new).await.unwrap();
    let mut history = History {
        world,
        dice: Dice(seed),
        model: Model::default(),
    };
    let mut commits = 0;
    for round in 0..2 {
        for _ in 0..=history.dice.below(7) {
            history.commit(commits).await;
            commits += 1;
        }
        let plan = world.plan(&[("rewrite-all", "true")]).await;
        let job = format!("job-{seed}-{round}");
        let report = world.execute_as(&job, &job, &plan).await;
        let want: Vec<i64> = history.model.rows.keys().copied().collect();
        assert_eq!(numbers(world).await, want, "seed {seed}: {report:?}");
        report.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_delete_exactly_what_a_comparison_row_by_row_deletes() {
    let seed = testkit::seed();
    let mut world = World::new().await;
    let namespace = vec!["db".to_owned()];
    world
        .catalog
        .create_namespace(&namespace, &BTreeMap::new())
        .await
        .unwrap();
    for number in 0..HISTORIES {
        world.name = format!("db.t{number}").parse().unwrap();
        run(&world, seed.wrapping_add(number)).await;
    }
}
