//! Measures a table: the facts of `model::health`, from the cheapest source that knows each.
//!
//! metadata.json tells of snapshots, the manifest list of manifests, and manifests of files; they
//! are read one entry at a time, a bounded number at once, and of very many a sample is. Counts,
//! never judges; hostile numbers end at the largest there is. Start at [`measure`].

mod deletes;
mod files;
mod past;

use model::health::{DeleteStats, Facts, FileStats, ManifestStats, Thresholds};
use storage::Storage;

use crate::{Error, ManifestContent, ManifestFile, Snapshot, TableMetadata, read_manifest_list};

pub use past::snapshot_stats;

/// Manifests opened for one table at most: at some thousand files each, about a second's work.
pub const MANIFESTS_READ_MAX: usize = 256;

/// `commit.manifest.target-size-bytes`.
const MANIFEST_TARGET_KEY: &str = "commit.manifest.target-size-bytes";
/// Java's default of it: 8 MiB.
const MANIFEST_TARGET_DEFAULT: u64 = 8 << 20;
/// A manifest is made in memory, and read whole by whoever plans a scan.
pub const MANIFEST_TARGET_MAX: u64 = 256 << 20;

/// What is measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measuring {
    pub thresholds: Thresholds,
    /// The database's clock.
    pub now_ms: i64,
    /// How old snapshots may be. `None`: as the table's own property says, else Java's 5 days.
    pub max_snapshot_age_ms: Option<i64>,
    /// Manifests opened at most; of more, an even sample is. [`MANIFESTS_READ_MAX`] but for tests.
    pub manifests_max: usize,
}

/// Measures the table at `metadata_location`. With `known` facts of the same metadata file and
/// thresholds nothing is read: only what depends on the time is counted again.
pub async fn measure(
    storage: &Storage,
    table: &TableMetadata,
    metadata_location: &str,
    measuring: &Measuring,
    known: Option<&Facts>,
) -> Result<Facts, Error> {
    let past = snapshot_stats(table, measuring.now_ms, measuring.max_snapshot_age_ms);
    let rival = past::rival(table, measuring.now_ms);
    let same = known.filter(|known| {
        known.metadata_location == metadata_location
            && known.table_uuid == table.uuid()
            && known.thresholds == measuring.thresholds
    });
    if let Some(known) = same {
        return Ok(Facts {
            snapshot_stats: past,
            rival,
            ..known.clone()
        });
    }
    let mut facts = Facts {
        table_uuid: table.uuid().to_owned(),
        metadata_location: metadata_location.to_owned(),
        format_version: table.format_version(),
        metadata_bytes: storage.size(metadata_location).await?,
        last_updated_ms: table.last_updated_ms(),
        current_snapshot_id: table.current_snapshot().map(|current| current.snapshot_id),
        file_stats: FileStats {
            target_file_size_bytes: measuring.thresholds.target_file_size_bytes,
            ..FileStats::default()
        },
        snapshot_count: table.snapshots().len() as u64,
        snapshot_stats: past,
        rival,
        thresholds: measuring.thresholds,
        ..Facts::default()
    };
    if let Some(current) = table.current_snapshot() {
        of_manifests(storage, table, current, measuring, &mut facts).await?;
    }
    Ok(facts)
}

/// What the current snapshot's list and manifests tell.
async fn of_manifests(
    storage: &Storage,
    table: &TableMetadata,
    current: &Snapshot,
    measuring: &Measuring,
    facts: &mut Facts,
) -> Result<(), Error> {
    let manifests = read_manifest_list(storage, current).await?;
    facts.manifest_count = manifests.len() as u64;
    facts.manifest_stats = manifest_stats(table, &manifests);
    let [data, deletes] = [ManifestContent::Data, ManifestContent::Deletes].map(|content| {
        let share = share(&manifests, content, measuring.manifests_max);
        Sample::of(&manifests, content, share)
    });
    let reader = files::Reader::new(storage, table, measuring.thresholds);
    let deletes_found = reader.deletes(&deletes).await?;
    let files = reader.data(&data, deletes_found.index).await?;

    let scale = data.scale(files.files);
    let stats = &mut facts.file_stats;
    stats.manifests_read = (data.chosen.len() + deletes.chosen.len()) as u64;
    stats.total_data_files = scale.count(files.files);
    stats.total_size_bytes = scale.count(files.bytes);
    stats.avg_file_size_bytes = files.bytes.checked_div(files.files).unwrap_or(0);
    stats.small_file_count = scale.count(files.small_files);
    stats.small_file_pct = percent(files.small_files, files.files);
    let min = measuring.thresholds.min_input_files;
    let (compactable, bytes) = files.compactable(|count| u64::from(min) <= scale.count(count));
    stats.compactable_file_count = scale.count(compactable);
    stats.compactable_bytes = scale.count(bytes);
    facts.total_records = scale.count(files.records);
    facts.manifest_stats.old_spec_file_count = scale.count(files.old_spec_files);

    let found = &deletes_found.counts;
    let delete_scale = deletes.scale(found.files);
    facts.file_stats.total_delete_files = delete_scale.count(found.files);
    facts.delete_stats = DeleteStats {
        position_delete_records: delete_scale.count(found.position_records),
        equality_delete_records: delete_scale.count(found.equality_records),
        delete_bytes: delete_scale.count(found.bytes),
        heavy_file_count: scale.count(files.heavy_files),
    };
    Ok(())
}

/// The length a manifest of the table should have: `commit.manifest.target-size-bytes`, bytes.
pub fn manifest_target(table: &TableMetadata) -> u64 {
    table
        .property(MANIFEST_TARGET_KEY)
        .and_then(|value| value.parse().ok())
        .filter(|target| *target > 0)
        .map_or(MANIFEST_TARGET_DEFAULT, |target: u64| {
            target.min(MANIFEST_TARGET_MAX)
        })
}

/// A manifest shorter than this is small: merging two of them always leaves one less.
pub fn small_manifest_below(target: u64) -> u64 {
    target / 2
}

fn manifest_stats(table: &TableMetadata, manifests: &[ManifestFile]) -> ManifestStats {
    let small_below = small_manifest_below(manifest_target(table));
    let length = |manifest: &ManifestFile| u64::try_from(manifest.manifest_length).unwrap_or(0);
    let small = |manifest: &&ManifestFile| {
        // What no merge takes is not counted for one.
        let may = manifest.mergeable() && manifest.key_metadata.is_none();
        may && length(manifest) < small_below
    };
    ManifestStats {
        total_bytes: manifests.iter().map(length).fold(0, u64::saturating_add),
        small_count: manifests.iter().filter(small).count() as u64,
        old_spec_file_count: 0,
    }
}

/// 0 to 100; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64 * 100.0
    }
}

/// How many of `manifests_max` manifests may be of this kind: as large a part as it is of all.
fn share(manifests: &[ManifestFile], content: ManifestContent, manifests_max: usize) -> usize {
    let of_kind = of_kind(manifests, content).count();
    if manifests.len() <= manifests_max {
        of_kind
    } else {
        (of_kind as u128 * manifests_max as u128 / manifests.len() as u128).max(1) as usize
    }
}

fn of_kind(
    manifests: &[ManifestFile],
    content: ManifestContent,
) -> impl Iterator<Item = &ManifestFile> {
    manifests
        .iter()
        .filter(move |manifest| manifest.content == content)
        // Most lists count: what is said to hold nothing live is not opened.
        .filter(|manifest| manifest.live_files_count() != Some(0))
}

/// The manifests of one kind that are opened, evenly spread over the list, always the same.
struct Sample<'a> {
    chosen: Vec<&'a ManifestFile>,
    /// How many there are.
    manifests: u64,
    /// Live files in all of them; `None` where the list does not count.
    files: Option<u64>,
}

impl<'a> Sample<'a> {
    fn of(manifests: &'a [ManifestFile], content: ManifestContent, at_most: usize) -> Self {
        let all: Vec<&ManifestFile> = of_kind(manifests, content).collect();
        let counts = all
            .iter()
            .map(|manifest| u64::try_from(manifest.live_files_count()?).ok());
        let files = counts.sum::<Option<u64>>();
        let (count, at_most) = (all.len(), at_most.min(all.len()));
        let nth = |index: usize| (index as u128 * count as u128 / at_most as u128) as usize;
        Self {
            chosen: (0..at_most).map(|index| all[nth(index)]).collect(),
            manifests: count as u64,
            files,
        }
    }

    /// What makes counts of the sample, which has `files_found` live files, counts of the whole.
    fn scale(&self, files_found: u64) -> Scale {
        let read = self.chosen.len() as u64;
        match self.files {
            _ if read == self.manifests => Scale { all: 1, read: 1 },
            Some(all) if files_found > 0 => Scale {
                all,
                read: files_found,
            },
            _ => Scale {
                all: self.manifests,
                read,
            },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Scale {
    all: u64,
    read: u64,
}

impl Scale {
    fn count(self, counted: u64) -> u64 {
        let scaled = u128::from(counted) * u128::from(self.all) / u128::from(self.read.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}
