//! Where the table wants its files: `write.data.path`, `write.metadata.path` and the
//! object-store layout, as Java's location providers place them.

use std::sync::atomic::{AtomicU32, Ordering};

use metadata::TableMetadata;
use uuid::Uuid;

const DATA_PATH: &str = "write.data.path";
/// Older names of `write.data.path`, newest first.
const DATA_PATH_OLD: &str = "write.folder-storage.path";
const OBJECT_PATH_OLD: &str = "write.object-storage.path";
const METADATA_PATH: &str = "write.metadata.path";
const OBJECT_LAYOUT: &str = "write.object-storage.enabled";
const PARTITIONED_PATHS: &str = "write.object-storage.partitioned-paths";

/// Bits of a name's hash that are spread over folders.
const HASH_BITS: u32 = 20;
/// Folders the hash makes, and how many bits name each.
const HASH_FOLDERS: usize = 3;
const HASH_FOLDER_BITS: usize = 4;

/// Names new files of one attempt, never the same twice.
#[derive(Debug)]
pub(crate) struct Places {
    data: String,
    metadata: String,
    object_layout: bool,
    partitioned_paths: bool,
    /// Between the hash and the partition when the data lies outside the table's location.
    context: Option<String>,
    /// In every name: the attempt, and this use of it.
    owner: String,
    next: AtomicU32,
}

impl Places {
    pub(crate) fn new(table: &TableMetadata, owner: &str) -> Self {
        let location = table.location().trim_end_matches('/');
        let property = |key: &str| {
            table
                .property(key)
                .map(|value| value.trim_end_matches('/').to_owned())
        };
        let object_layout = table
            .property(OBJECT_LAYOUT)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let old = if object_layout {
            property(OBJECT_PATH_OLD)
        } else {
            None
        };
        let data = property(DATA_PATH)
            .or(old)
            .or_else(|| property(DATA_PATH_OLD));
        let data = data.unwrap_or_else(|| format!("{location}/data"));
        let context = if data.starts_with(location) {
            None
        } else {
            Some(last_two(location))
        };
        let partitioned = table.property(PARTITIONED_PATHS);
        Self {
            metadata: property(METADATA_PATH).unwrap_or_else(|| format!("{location}/metadata")),
            partitioned_paths: partitioned.is_none_or(|value| !value.eq_ignore_ascii_case("false")),
            data,
            object_layout,
            context,
            owner: format!("{owner}-{}", &Uuid::new_v4().simple().to_string()[..8]),
            next: AtomicU32::new(0),
        }
    }

    /// A new data or delete file of a partition (its Hive path, empty when unpartitioned).
    pub(crate) fn data_file(&self, partition: &str, kind: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number:05}-{}{kind}.parquet", self.owner);
        self.place(partition, &name)
    }

    fn place(&self, partition: &str, name: &str) -> String {
        let full = if partition.is_empty() {
            name.to_owned()
        } else {
            format!("{partition}/{name}")
        };
        if !self.object_layout {
            return format!("{}/{full}", self.data);
        }
        let full = if self.partitioned_paths {
            full
        } else {
            name.to_owned()
        };
        let hash = hash_folders(&full);
        match &self.context {
            Some(context) => format!("{}/{hash}/{context}/{full}", self.data),
            None if self.partitioned_paths => format!("{}/{hash}/{full}", self.data),
            None => format!("{}/{hash}-{full}", self.data),
        }
    }

    /// A new manifest.
    pub(crate) fn manifest(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}/{}-m{number}.avro", self.metadata, self.owner)
    }

    /// A new manifest list of a snapshot.
    pub(crate) fn manifest_list(&self, snapshot_id: i64) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!(
            "{}/snap-{snapshot_id}-{number}-{}.avro",
            self.metadata, self.owner
        )
    }
}

fn last_two(location: &str) -> String {
    let mut parts = location.rsplit('/');
    let table = parts.next().unwrap_or_default();
    match parts.next().filter(|parent| !parent.is_empty()) {
        Some(parent) => format!("{parent}/{table}"),
        None => table.to_owned(),
    }
}

fn hash_folders(name: &str) -> String {
    let bits = format!("{:020b}", murmur3(name.as_bytes()) & ((1 << HASH_BITS) - 1));
    let mut path = String::with_capacity(bits.len() + HASH_FOLDERS);
    for folder in 0..HASH_FOLDERS {
        path.push_str(&bits[folder * HASH_FOLDER_BITS..(folder + 1) * HASH_FOLDER_BITS]);
        path.push('/');
    }
    path.push_str(&bits[HASH_FOLDERS * HASH_FOLDER_BITS..]);
    path
}

/// MurmurHash3, x86, 32 bits, seed 0: what Java's object-store layout spreads names with.
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |block: u32| {
        block
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let mut hash = 0u32;
    let mut blocks = bytes.chunks_exact(4);
    for block in &mut blocks {
        let block = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        hash = (hash ^ mix(block))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let tail = blocks
        .remainder()
        .iter()
        .rev()
        .fold(0u32, |tail, byte| (tail << 8) | u32::from(*byte));
    if tail != 0 {
        hash ^= mix(tail);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spread_as_java_spreads_them() {
        // TestLocationProvider of Iceberg 1.9.
        for (name, want) in [
            ("a", "0101/0110/1001/10110010"),
            ("b", "1110/0111/1110/00000011"),
            ("c", "0010/1101/0110/01011111"),
            ("d", "1001/0001/0100/01110011"),
        ] {
            assert_eq!(hash_folders(name), want, "{name}");
        }
    }

    #[test]
    fn the_hash_is_murmur3() {
        for (text, want) in [("", 0), ("iceberg", 1_210_000_089), ("hello", 0x248b_fa47)] {
            assert_eq!(murmur3(text.as_bytes()), want, "{text}");
        }
    }
}
