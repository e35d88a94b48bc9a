//! `rewrite_manifests`: which manifests are merged into fewer, and why the others stay
//! (`lake.md` section 5).
//!
//! Pure: [`Chosen::of`] reads a manifest list, [`plan`] what the entries of the chosen are encoded
//! as. Spark's action rewrites everything whenever it is asked; here only small manifests are
//! merged, so that a quiet table comes to rest, unless `rewrite-all` is set.

mod options;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use metadata::{
    ManifestContent, ManifestFile, Shape, TableMetadata, manifest_target, small_manifest_below,
};
use model::Advice;
use serde::{Deserialize, Serialize};

use crate::BadOption;
pub use options::{OPTIONS, Options};

/// What entries take in memory, in multiples of the manifest's own length: they lie there
/// unpacked, with their partitions beside them, and what is made of them takes as much again.
const UNPACKED: u64 = 24;
/// What an execution holds beside them.
const MEMORY_BYTES: u64 = 32 << 20;

const RIGHT_SIZE: &str = "not small";
const ALONE: &str = "the only one of its kind";
const OTHER_SPEC: &str = "of another spec than spec_id";
const ENCRYPTED: &str = "encrypted";
const UNKNOWN_FIELDS: &str = "with fields that this version cannot merge";

/// A merge of manifests pinned to one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The snapshot planned on; `None` when the table has none.
    pub snapshot_id: Option<i64>,
    pub options: Options,
    /// The length a new manifest should have, in bytes.
    pub target_size_bytes: u64,
    pub groups: Vec<Group>,
    /// Manifests that stay, counted by reason.
    pub kept: BTreeMap<String, u64>,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

/// Manifests of one content, spec and encoding, to be merged into `expected` new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `data` or `deletes`.
    pub content: String,
    pub spec_id: i32,
    pub inputs: Vec<Input>,
    /// How many new manifests are expected.
    pub expected: u64,
}

/// A manifest to be merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

impl Group {
    /// Bytes of its manifests.
    pub fn bytes(&self) -> u64 {
        let bytes = self.inputs.iter().map(|input| input.bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        let reason = if self.kept.is_empty() {
            "the table has no manifests"
        } else if self.kept.keys().all(|why| why == OTHER_SPEC) {
            "no manifest is of that spec"
        } else {
            "no two manifests are worth merging"
        };
        self.groups.is_empty().then_some(reason)
    }

    /// Manifests merged, in all groups.
    pub fn inputs(&self) -> u64 {
        self.groups
            .iter()
            .map(|group| group.inputs.len() as u64)
            .sum()
    }

    pub(crate) fn message(&self) -> String {
        let expected = self.groups.iter().map(|group| group.expected);
        let bytes = self.groups.iter().map(Group::bytes);
        format!(
            "would merge {} manifests ({} bytes) into about {}, and keep {}",
            self.inputs(),
            bytes.fold(0, u64::saturating_add),
            expected.fold(0, u64::saturating_add),
            self.kept.values().sum::<u64>(),
        )
    }
}

/// The table rules a merge out; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; rewrite_manifests supports versions 1 and 2 in this version"
    )]
    FormatVersion(u8),
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Refused {
    /// Neither the table nor the options change by trying again.
    pub fn advice(&self) -> Advice {
        match self {
            Self::FormatVersion(_) | Self::Option(_) => Advice::GiveUp,
        }
    }
}

/// Manifests of which a plan must know the encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub manifests: Vec<&'a ManifestFile>,
    target_size_bytes: u64,
    kept: BTreeMap<String, u64>,
}

impl<'a> Chosen<'a> {
    /// Chooses from the manifests of the table's current snapshot.
    pub fn of(
        table: &TableMetadata,
        manifests: &'a [ManifestFile],
        options: &Options,
    ) -> Result<Self, Refused> {
        let version = table.format_version();
        if version > 2 {
            return Err(Refused::FormatVersion(version));
        }
        options.check_spec(table)?;
        let target = options.target_size_bytes.unwrap_or(manifest_target(table));
        let mut chosen = Self {
            manifests: Vec::new(),
            target_size_bytes: target,
            kept: BTreeMap::new(),
        };
        for manifest in manifests {
            let small = length(manifest) < small_manifest_below(target);
            let spec_id = options.spec_id.unwrap_or(manifest.partition_spec_id);
            if spec_id != manifest.partition_spec_id {
                chosen.keep(OTHER_SPEC, 1);
            } else if manifest.key_metadata.is_some() {
                chosen.keep(ENCRYPTED, 1);
            } else if !manifest.mergeable() {
                chosen.keep(UNKNOWN_FIELDS, 1);
            } else if !small && !options.rewrite_all {
                chosen.keep(RIGHT_SIZE, 1);
            } else {
                chosen.manifests.push(manifest);
            }
        }
        Ok(chosen)
    }

    fn keep(&mut self, why: &str, manifests: u64) {
        *self.kept.entry(why.to_owned()).or_default() += manifests;
    }
}

fn length(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(0)
}

/// Plans the merge of the manifests chosen from the table's current snapshot; `shapes` are theirs,
/// or why a manifest's entries cannot be carried.
pub fn plan(
    table: &TableMetadata,
    key: &str,
    mut chosen: Chosen<'_>,
    shapes: &[Result<Shape, String>],
    options: &Options,
) -> Plan {
    let mut kinds: BTreeMap<(ManifestContent, i32, Shape), Vec<Input>> = BTreeMap::new();
    for (manifest, shape) in std::mem::take(&mut chosen.manifests)
        .into_iter()
        .zip(shapes)
    {
        let shape = match shape {
            Ok(shape) => *shape,
            Err(why) => {
                chosen.keep(why, 1);
                continue;
            }
        };
        let kind = (manifest.content, manifest.partition_spec_id, shape);
        kinds.entry(kind).or_default().push(Input {
            path: manifest.manifest_path.clone(),
            bytes: length(manifest),
        });
    }
    let mut groups = Vec::new();
    for ((content, spec_id, _), inputs) in kinds {
        let mut group = Group {
            content: content.as_str().to_owned(),
            spec_id,
            inputs,
            expected: 0,
        };
        let target = chosen.target_size_bytes.max(1);
        group.expected = group.bytes().div_ceil(target).max(1);
        let count = group.inputs.len() as u64;
        // What Spark leaves alone, too.
        if count == 1 && (group.expected == 1 || !options.rewrite_all) {
            chosen.keep(ALONE, 1);
        } else {
            groups.push(group);
        }
    }
    let largest = groups.iter().map(Group::bytes).max().unwrap_or(0);
    Plan {
        table: key.to_owned(),
        table_uuid: table.uuid().to_owned(),
        snapshot_id: table.current_snapshot().map(|now| now.snapshot_id),
        options: options.clone(),
        target_size_bytes: chosen.target_size_bytes,
        groups,
        kept: chosen.kept,
        memory_bytes: largest
            .saturating_mul(UNPACKED)
            .saturating_add(MEMORY_BYTES),
    }
}
