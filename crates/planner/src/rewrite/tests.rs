//! The rules of a plan, row by row, and its properties.
//!
//! Sizes are small: the target is 100 bytes, so a file is a candidate below 75 and above 180.

mod choice;
mod equality;
mod parsing;
mod position;
mod properties;
mod sorting;

use std::collections::BTreeMap;

use metadata::{Content, DataFile, Literal, LiveFile, LiveFiles, TableMetadata};
use serde_json::{Value, json};

use super::{Options, Plan, Refused, plan};

/// Partitioned by `region`; spec 0 is unpartitioned.
const PARTITIONED: i32 = 1;
/// Was partitioned by `region`, which is void now.
const ALL_REGIONS_SPEC: i32 = 2;
const CURRENT_SNAPSHOT: i64 = 7;
/// Sequence number of the current snapshot.
const CURRENT_SEQUENCE: i64 = 7;

/// A table and what is asked of it.
struct Case {
    version: u8,
    spec_id: i32,
    /// In place of the usual partitioned one.
    spec: Value,
    /// Beside `region` and `n`.
    columns: Vec<Value>,
    /// The fields of the table's sort order.
    sorted_by: Value,
    properties: BTreeMap<&'static str, String>,
    snapshots: Vec<Value>,
    options: BTreeMap<String, String>,
    files: LiveFiles,
}

fn case(files: impl IntoIterator<Item = LiveFile>) -> Case {
    let (data, deletes) = files
        .into_iter()
        .partition(|live: &LiveFile| live.file.content == Content::Data);
    let target = ("target-file-size-bytes".to_owned(), "100".to_owned());
    Case {
        version: 2,
        spec_id: 0,
        spec: json!({"spec-id": PARTITIONED, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "region", "transform": "identity"},
        ]}),
        columns: Vec::new(),
        sorted_by: json!([]),
        properties: BTreeMap::new(),
        snapshots: vec![snapshot(
            CURRENT_SNAPSHOT,
            CURRENT_SEQUENCE,
            None,
            json!({}),
        )],
        options: BTreeMap::from([target]),
        files: LiveFiles {
            data,
            deletes,
            ..LiveFiles::default()
        },
    }
}

fn snapshot(id: i64, sequence_number: i64, parent: Option<i64>, summary: Value) -> Value {
    let mut snapshot = json!({
        "snapshot-id": id,
        "sequence-number": sequence_number,
        "timestamp-ms": sequence_number,
        "manifest-list": format!("file:///t/{id}.avro"),
        "summary": {"operation": "append"},
        "schema-id": 0,
    });
    if let (Value::Object(into), Value::Object(from)) = (&mut snapshot["summary"], summary) {
        into.extend(from);
    }
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = parent.into();
    }
    snapshot
}

impl Case {
    fn option(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    fn property(mut self, key: &'static str, value: &str) -> Self {
        self.properties.insert(key, value.to_owned());
        self
    }

    fn with_spec(mut self, spec: Value) -> Self {
        self.spec = spec;
        self
    }

    fn partitioned(mut self) -> Self {
        self.spec_id = PARTITIONED;
        self
    }

    fn table(&self) -> TableMetadata {
        TableMetadata::parse(self.document().to_string().as_bytes()).expect("metadata")
    }

    fn document(&self) -> Value {
        let current = self
            .snapshots
            .last()
            .map_or(json!(-1), |s| s["snapshot-id"].clone());
        let refs = match self.snapshots.last() {
            Some(_) => json!({"main": {"snapshot-id": current, "type": "branch"}}),
            None => json!({}),
        };
        let mut columns = vec![
            json!({"id": 1, "name": "region", "required": false, "type": "string"}),
            json!({"id": 2, "name": "n", "required": false, "type": "int"}),
        ];
        columns.extend(self.columns.clone());
        json!({
            "format-version": self.version,
            "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": "file:///t",
            "last-sequence-number": 100,
            "last-updated-ms": 100,
            "last-column-id": 100,
            "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": columns}],
            "default-spec-id": self.spec_id,
            "partition-specs": [
                {"spec-id": 0, "fields": []},
                self.spec,
                {"spec-id": ALL_REGIONS_SPEC, "fields": [
                    {"source-id": 1, "field-id": 1000, "name": "region", "transform": "void"},
                ]},
            ],
            "last-partition-id": 1000,
            "default-sort-order-id": i32::from(self.sorted_by != json!([])),
            "sort-orders": [
                {"order-id": 0, "fields": []},
                {"order-id": 1, "fields": self.sorted_by},
            ],
            "properties": self.properties,
            "current-snapshot-id": current,
            "snapshots": self.snapshots,
            "refs": refs,
        })
    }

    fn plan(&self) -> Result<Plan, Refused> {
        let options = Options::parse(&self.options)?;
        plan(&self.table(), "db.t", &self.files, &options)
    }

    /// The plan as lines: each group with its inputs, each reason with its files.
    #[track_caller]
    fn check(&self, want: &[&str]) {
        let plan = self.plan().expect("a plan");
        assert_eq!(described(&plan), want, "for {:?}", self.options);
    }

    #[track_caller]
    fn refused(&self, want: &str) {
        let error = self.plan().expect_err("refused").to_string();
        assert!(error.contains(want), "{error}");
    }
}

fn described(plan: &Plan) -> Vec<String> {
    let at = |path: &str| {
        if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        }
    };
    let groups = plan.groups.iter().map(|group| {
        let inputs: Vec<String> = group
            .inputs
            .iter()
            .map(|input| match input.deletes.as_slice() {
                [] => input.path.clone(),
                deletes => format!("{}[{}]", input.path, deletes.join(" ")),
            })
            .collect();
        let (path, files) = (at(&group.partition_path), group.output_files);
        format!("{path}{} -> {files}: {}", inputs.join(" "), group.reason)
    });
    let skipped = plan.skipped.iter().map(|skipped| {
        format!(
            "{}{} left: {}",
            at(&skipped.partition_path),
            skipped.files,
            skipped.reason
        )
    });
    groups.chain(skipped).collect()
}

fn live(file: DataFile, sequence_number: i64) -> LiveFile {
    LiveFile {
        file,
        sequence_number,
        file_sequence_number: sequence_number,
        snapshot_id: Some(sequence_number),
        manifest: 0,
    }
}

/// A data file of 100 rows, written first.
fn data(path: &str, bytes: u64) -> LiveFile {
    let file = DataFile {
        record_count: 100,
        file_size_in_bytes: bytes,
        ..DataFile::new(Content::Data, path)
    };
    live(file, 1)
}

/// `a1`, `a2`, ... of the same size.
fn many(name: &str, count: usize, bytes: u64) -> Vec<LiveFile> {
    (1..=count)
        .map(|number| data(&format!("{name}{number}"), bytes))
        .collect()
}

/// A position delete file of `records` positions, committed after `data`.
fn positions(path: &str, records: u64) -> LiveFile {
    let file = DataFile {
        record_count: records,
        file_size_in_bytes: 10,
        ..DataFile::new(Content::PositionDeletes, path)
    };
    live(file, 2)
}

fn of(mut delete: LiveFile, data: &str) -> LiveFile {
    delete.file.referenced_data_file = Some(data.to_owned());
    delete
}

fn at(mut live: LiveFile, sequence_number: i64) -> LiveFile {
    live.sequence_number = sequence_number;
    live.file_sequence_number = sequence_number;
    live
}

fn region(mut live: LiveFile, region: &str) -> LiveFile {
    live.file.spec_id = PARTITIONED;
    live.file.partition = vec![Some(Literal::String(region.to_owned()))];
    live
}
