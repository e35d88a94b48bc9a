//! Which equality delete files apply to which data file (Iceberg spec, "Scan Planning").
//!
//! One applies to every data file of its own spec and partition, or of all when its spec is
//! unpartitioned, whose data sequence number is below its own. Doubt leaves the data file alone:
//! applying one that does not apply deletes rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use metadata::{Content, LiveFile, LiveFiles, PartitionSpec, TableMetadata, Transform};

use super::deletes::{Applying, Partition, partition, unreadable};
use super::{EqualityDelete, keys};

/// Equality deletes written under an unpartitioned spec apply to every partition.
pub fn is_global(spec: &PartitionSpec) -> bool {
    spec.fields
        .iter()
        .all(|field| field.transform == Transform::Void)
}

/// The equality delete files of a snapshot, by where they apply.
#[derive(Debug, Default)]
pub(super) struct Equality<'a> {
    /// By data sequence number, then path.
    global: Vec<Delete<'a>>,
    by_partition: BTreeMap<Partition<'a>, Vec<Delete<'a>>>,
}

#[derive(Debug)]
struct Delete<'a> {
    file: &'a LiveFile,
    /// Why it cannot be applied.
    unusable: Option<String>,
}

impl<'a> Equality<'a> {
    pub(super) fn index(table: &TableMetadata, live: &'a LiveFiles) -> Self {
        let mut index = Self::default();
        let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
        let all = || {
            live.deletes
                .iter()
                .filter(|delete| delete.file.content == Content::EqualityDeletes)
        };
        for delete in all() {
            let path = delete.file.file_path.as_str();
            if !seen.insert(path) {
                twice.insert(path);
            }
        }
        let mut known = HashMap::new();
        for file in all() {
            let listed_twice = twice.contains(file.file.file_path.as_str());
            let spec = table.spec(file.file.spec_id);
            let unusable = unreadable(file)
                .or_else(|| listed_twice.then(|| says("is listed more than once")))
                .or_else(|| spec.is_none().then(|| says("is of an unknown spec")))
                .or_else(|| incomparable(table, file, &mut known));
            let delete = Delete { file, unusable };
            if spec.is_none_or(|spec| is_global(spec)) {
                index.global.push(delete);
            } else {
                let there = index.by_partition.entry(partition(file)).or_default();
                there.push(delete);
            }
        }
        index.global.sort_by_key(Delete::order);
        for there in index.by_partition.values_mut() {
            there.sort_by_key(Delete::order);
        }
        index
    }

    /// Adds what applies to `data`.
    pub(super) fn add_applying(&self, data: &LiveFile, applying: &mut Applying<'a>) {
        let newer = |deletes: &'_ [Delete<'a>]| {
            deletes.partition_point(|delete| delete.file.sequence_number <= data.sequence_number)
        };
        let within = self.by_partition.get(&partition(data));
        for deletes in [Some(&self.global), within].into_iter().flatten() {
            for delete in &deletes[newer(deletes)..] {
                applying.equality.push(delete.file);
                if applying.unusable.is_none() {
                    applying.unusable.clone_from(&delete.unusable);
                }
            }
        }
        applying.count += applying.equality.len();
    }
}

impl<'a> Delete<'a> {
    fn order(&self) -> (i64, &'a str) {
        (self.file.sequence_number, &self.file.file.file_path)
    }
}

fn says(why: &str) -> String {
    format!("an equality delete file that applies to it {why}")
}

/// Why the columns it compares cannot be compared; `known` remembers those asked about.
fn incomparable(
    table: &TableMetadata,
    delete: &LiveFile,
    known: &mut HashMap<i32, Option<String>>,
) -> Option<String> {
    let ids = delete.file.equality_ids.as_deref().unwrap_or_default();
    if ids.is_empty() {
        return Some(says("does not say which columns it compares"));
    }
    let mut why = |id: i32| {
        let column = || keys::key_column(table, id).err();
        known.entry(id).or_insert_with(column).clone()
    };
    ids.iter().find_map(|id| why(*id)).map(|why| says(&why))
}

/// The equality delete files of one group, each once.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    files: Vec<&'a LiveFile>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Listed<'a> {
    pub(super) fn of<'f>(files: impl Iterator<Item = &'f &'a LiveFile>) -> Self
    where
        'a: 'f,
    {
        let mut files: Vec<&LiveFile> = files.copied().collect();
        files.sort_by_key(|file| (file.sequence_number, file.file.file_path.as_str()));
        files.dedup_by_key(|file| file.file.file_path.as_str());
        let paths = files.iter().map(|file| file.file.file_path.as_str());
        let index = paths.enumerate().map(|(index, path)| (path, index));
        Self {
            index: index.collect(),
            files,
        }
    }

    pub(super) fn files(&self) -> Vec<EqualityDelete> {
        let describe = |live: &&LiveFile| {
            let mut field_ids = live.file.equality_ids.clone().unwrap_or_default();
            field_ids.sort_unstable();
            field_ids.dedup();
            EqualityDelete {
                path: live.file.file_path.clone(),
                bytes: live.file.file_size_in_bytes,
                records: live.file.record_count,
                sequence_number: live.sequence_number,
                field_ids,
            }
        };
        self.files.iter().map(describe).collect()
    }

    /// Where `files`, of one input, are in the list: ascending.
    pub(super) fn indices(&self, files: &[&LiveFile]) -> Vec<usize> {
        let find = |file: &&LiveFile| self.index.get(file.file.file_path.as_str()).copied();
        let mut indices: Vec<usize> = files.iter().filter_map(find).collect();
        indices.sort_unstable();
        indices
    }
}
