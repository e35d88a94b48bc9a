//! What is fed, and what must hold whatever it is fed.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::ValueEnum;
use metadata::{
    Fields, ManifestContent, ManifestFile, Snapshot, TableMetadata, Update, read_manifest,
    read_manifest_list, rewrite_manifest,
};
use rand::RngExt as _;
use rand::rngs::StdRng;
use storage::Storage;
use tokio::runtime::Runtime;

use crate::{avro, json, parquet, raw};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// A table's metadata.json.
    Metadata,
    /// A list of manifests.
    ManifestList,
    /// A manifest.
    Manifest,
    /// The footer of a data file.
    Footer,
    /// The pages of a data file.
    Page,
    /// A position delete file.
    Positions,
    /// An equality delete file.
    Keys,
}

/// Columns of [`KEYED`] that rows are deleted by.
const KEYS: [i32; 5] = [1, 2, 3, 6, 8];
/// A table with the columns of the corpus's flat files.
const KEYED: &str = r#"{"format-version": 2, "table-uuid": "8f4d1f8e-3b1c-4e0b-9f62-6a1f5e4b7c11",
    "location": "/t", "last-sequence-number": 1, "last-updated-ms": 1, "last-column-id": 8,
    "schemas": [{"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": true, "type": "long"},
        {"id": 2, "name": "small", "required": false, "type": "int"},
        {"id": 3, "name": "name", "required": false, "type": "string"},
        {"id": 6, "name": "at", "required": false, "type": "timestamptz"},
        {"id": 8, "name": "flag", "required": false, "type": "boolean"}]}],
    "current-schema-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}],
    "default-spec-id": 0, "last-partition-id": 999,
    "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0}"#;

/// A file to begin with.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// How many rows a Parquet file says it has.
    records: Option<u64>,
}

/// How an input ended. A panic is seen by the hook that `main` sets.
pub(crate) enum End {
    Read,
    /// An error, in all its words.
    Refused(String),
}

impl Target {
    /// What reads it decodes with a library of others.
    pub(crate) fn of_parquet(self) -> bool {
        matches!(
            self,
            Self::Footer | Self::Page | Self::Positions | Self::Keys
        )
    }

    fn takes(self, name: &str) -> bool {
        let (list, avro) = (name.starts_with("snap-"), has_ending(name, "avro"));
        match self {
            Self::Metadata => name.ends_with(".metadata.json"),
            Self::ManifestList => list && avro,
            Self::Manifest => !list && avro,
            Self::Positions => name.ends_with("-deletes.parquet") || name == "positions.parquet",
            // What such a file deletes by is in columns like those of data.
            Self::Keys => name.starts_with("flat-") && has_ending(name, "parquet"),
            Self::Footer | Self::Page => {
                has_ending(name, "parquet") && !Self::Positions.takes(name)
            }
        }
    }

    /// The files below `folders` this target reads, in a fixed order.
    pub(crate) fn seeds(self, folders: &[PathBuf]) -> Result<Vec<Seed>> {
        let mut found = BTreeMap::new();
        for folder in folders {
            collect(folder, self, &mut found)?;
        }
        let records = |bytes: &[u8]| {
            self.of_parquet()
                .then(|| lake::records("seed", &Bytes::copy_from_slice(bytes)).ok())
        };
        let seed = |(path, bytes): (PathBuf, Vec<u8>)| Seed {
            records: records(&bytes).flatten(),
            path,
            bytes,
        };
        Ok(found.into_iter().map(seed).collect())
    }

    /// Damages `file` a few times; `other` is another file of the target.
    pub(crate) fn damage(self, rng: &mut StdRng, file: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..rng.random_range(1..4) {
            match (rng.random_range(0..5), self) {
                (0, _) => raw::damage(rng, file, other),
                (_, Self::Metadata) => json::damage(rng, file),
                (_, Self::ManifestList | Self::Manifest) => avro::damage(rng, file, other),
                (1 | 2, Self::Positions | Self::Keys) | (_, Self::Footer) => {
                    parquet::damage_footer(rng, file, other);
                }
                (_, Self::Page | Self::Positions | Self::Keys) => {
                    parquet::damage_pages(rng, file, other);
                }
            }
        }
    }
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == ending)
}

fn collect(folder: &Path, target: Target, found: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let doing = || format!("read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            collect(&path, target, found)?;
        } else if target.takes(&name) {
            let bytes = std::fs::read(&path).with_context(doing)?;
            found.insert(path, bytes);
        }
    }
    Ok(())
}

/// Feeds inputs to one target.
pub(crate) struct Feeder {
    target: Target,
    runtime: Runtime,
    storage: Storage,
    /// Where the input lies while it is read.
    place: PathBuf,
    /// Documents of the tables the seeds belong to.
    tables: Vec<(PathBuf, Arc<TableMetadata>)>,
    /// Data files that deletes may be of.
    names: Vec<String>,
    /// A table whose rows the files of keys delete.
    keyed: TableMetadata,
}

impl Feeder {
    pub(crate) fn new(target: Target, folders: &[PathBuf], place: PathBuf) -> Result<Self> {
        let mut tables = Vec::new();
        for seed in Target::Metadata.seeds(folders)? {
            if let Ok(table) = TableMetadata::parse(&seed.bytes) {
                let folder = seed.path.parent().unwrap_or(Path::new("")).to_owned();
                tables.push((folder, Arc::new(table)));
            }
        }
        let names = (0..3).map(|n| format!("/t/data/{n}.parquet")).collect();
        Ok(Self {
            target,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            storage: Storage::local(),
            place,
            tables,
            names,
            keyed: TableMetadata::parse(KEYED.as_bytes())?,
        })
    }

    /// Reads one input as the programs would.
    pub(crate) fn feed(&self, seed: &Seed, input: Vec<u8>) -> Result<End> {
        std::fs::write(&self.place, &input)?;
        let place = self.place.display().to_string();
        let input = Bytes::from(input);
        // As its manifest would say.
        let records = seed.records;
        let end = match self.target {
            Target::Metadata => document(&input).map_err(|error| words(&error)),
            Target::ManifestList => self.list(place.clone()),
            Target::Manifest => self.manifest(seed, &place, &input),
            Target::Footer | Target::Page => lake::inspect(&place, &input, records)
                .map(drop)
                .map_err(|error| words(&error)),
            Target::Positions => self.positions(&place, &input, records),
            Target::Keys => self.keys(&place, &input, records),
        };
        Ok(end.map_or_else(End::Refused, |()| End::Read))
    }

    /// What an error must name: the file, or for a document what its reader calls it.
    pub(crate) fn name(&self) -> String {
        match self.target {
            Target::Metadata => "table metadata".to_owned(),
            _ => self.place.display().to_string(),
        }
    }

    fn positions(&self, place: &str, input: &Bytes, records: Option<u64>) -> Result<(), String> {
        let read = lake::inspect_positions(place, input, records, &self.names);
        let deleted = read.map_err(|error| words(&error))?;
        let deleted: usize = deleted.values().map(Vec::len).sum();
        let most = records.unwrap_or(u64::MAX);
        assert!(deleted as u64 <= most, "{deleted} rows deleted by {most}");
        Ok(())
    }

    fn keys(&self, place: &str, input: &Bytes, records: Option<u64>) -> Result<(), String> {
        let records = records.unwrap_or_default();
        let read = lake::inspect_keys(place, input, records, &self.keyed, &KEYS);
        let keys = read.map_err(|error| words(&error))?;
        assert_eq!(keys, records, "every key is read");
        Ok(())
    }

    fn list(&self, place: String) -> Result<(), String> {
        let snapshot = Snapshot {
            snapshot_id: 1,
            manifest_list: place,
            ..Snapshot::default()
        };
        let read = read_manifest_list(&self.storage, &snapshot);
        self.runtime
            .block_on(read)
            .map(drop)
            .map_err(|error| words(&error))
    }

    /// Read as a plan reads it, and taken apart as a commit does.
    fn manifest(&self, seed: &Seed, place: &str, input: &Bytes) -> Result<(), String> {
        let folder = seed.path.parent();
        let own = self.tables.iter().rev();
        let table = own.filter(|(at, _)| Some(at.as_path()) == folder);
        let (mut read_once, mut refused) = (false, None);
        let spec = spec(&seed.bytes);
        for (_, table) in table.chain(self.tables.first()).take(2) {
            for content in [ManifestContent::Data, ManifestContent::Deletes] {
                let manifest = listed(place, spec, content);
                let read = read_manifest(&self.storage, &manifest, table, Fields::ALL);
                let read = self.runtime.block_on(read);
                let entries = match read {
                    Ok(entries) => entries,
                    Err(error) => {
                        refused.get_or_insert(words(&error));
                        continue;
                    }
                };
                let removed: HashSet<String> = entries
                    .iter()
                    .step_by(2)
                    .map(|entry| entry.file.file_path.clone())
                    .collect();
                read_once = true;
                let rewritten = rewrite_manifest(input, &manifest, table, &removed, 7, "/new.avro");
                if let Err(error) = rewritten {
                    refused.get_or_insert(words(&error));
                }
            }
        }
        // A manifest is one of data or one of deletes.
        refused.filter(|_| !read_once).map_or(Ok(()), Err)
    }
}

/// The spec a manifest says it was written under.
fn spec(manifest: &[u8]) -> i32 {
    const KEY: &[u8] = b"partition-spec-id";
    let at = manifest.windows(KEY.len()).position(|part| part == KEY);
    // One digit, behind its length.
    let digit = at.and_then(|at| manifest.get(at + KEY.len() + 1));
    digit.map_or(0, |digit| i32::from(digit.wrapping_sub(b'0')))
}

/// What a list says of a manifest.
fn listed(place: &str, partition_spec_id: i32, content: ManifestContent) -> ManifestFile {
    ManifestFile {
        manifest_path: place.to_owned(),
        partition_spec_id,
        content,
        sequence_number: 1,
        min_sequence_number: 1,
        added_snapshot_id: 1,
        ..ManifestFile::blank()
    }
}

/// Everything that is asked of a document, and what commits do to it.
fn document(input: &Bytes) -> Result<(), metadata::Error> {
    let table = TableMetadata::parse(input)?;
    let again = TableMetadata::parse(&table.to_json())?;
    assert!(again == table, "a document is written as it was read");
    for snapshot in table.snapshots() {
        let walked = table.history(snapshot.snapshot_id).count();
        assert!(walked <= table.snapshots().len(), "a history has an end");
    }
    for spec in table.specs() {
        for field in &spec.fields {
            let _ = table.current_schema().name_of(field.source_id);
        }
    }
    let logged = table
        .clone()
        .with_metadata_log("/old", table.last_updated_ms());
    let mut snapshot = table.current_snapshot().cloned().unwrap_or_default();
    snapshot.parent_snapshot_id = Some(snapshot.snapshot_id);
    snapshot.snapshot_id = 77;
    "/list.avro".clone_into(&mut snapshot.manifest_list);
    snapshot.manifests.clear();
    snapshot.sequence_number = table.last_sequence_number().saturating_add(1);
    let updates = [
        vec![
            Update::AddSnapshot { snapshot },
            Update::SetSnapshotRef {
                ref_name: "main".to_owned(),
                reference: metadata::Ref::branch(77),
            },
        ],
        vec![Update::RemoveSnapshots {
            snapshot_ids: table.snapshots().iter().map(|s| s.snapshot_id).collect(),
        }],
        vec![Update::AddSchema {
            schema: metadata::Schema::clone(table.current_schema()),
        }],
        vec![Update::AddSpec {
            spec: metadata::PartitionSpec::clone(table.default_spec()),
        }],
    ];
    for updates in updates {
        // Refused or made: it must not panic.
        let _ = logged.apply(&updates, 1);
    }
    Ok(())
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}
