//! Counts files, one entry at a time: no manifest's entries are ever held together.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use model::health::Thresholds;
use storage::Storage;

use super::Sample;
use super::deletes::{Found, Index};
use crate::manifest::{SpecTypes, fold};
use crate::scan::Known;
use crate::{
    DataFile, Entry, EntryStatus, Error, Fields, ManifestFile, TableMetadata, small_below,
};

/// Manifests read and counted at once: tables are measured side by side too.
const MANIFESTS_AT_ONCE: usize = 4;
/// Partitions told apart; small files of further ones count as not worth a rewrite.
const GROUPS_MAX: usize = 1 << 20;

/// A partition under its spec, as a number: two that share one are so rare that a count may be off.
pub(super) type Group = u64;

/// The same for the same value in every run of one release.
pub(super) fn number_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn group_of(file: &DataFile) -> Group {
    number_of(&(file.spec_id, &file.partition))
}

/// What live data files add up to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) small_files: u64,
    pub(super) old_spec_files: u64,
    /// Data files whose deletes reach a threshold.
    pub(super) heavy_files: u64,
    /// Small files a rewrite may take, and their bytes, by partition; those of other specs are
    /// [`OTHER_SPECS`].
    groups: HashMap<Group, (u64, u64)>,
}

const OTHER_SPECS: Group = 0;

impl Counts {
    /// Files and bytes of groups that have enough small files.
    pub(super) fn compactable(&self, enough: impl Fn(u64) -> bool) -> (u64, u64) {
        let worth_it = self.groups.values().filter(|(count, _)| enough(*count));
        worth_it.fold((0, 0), |(files, bytes), (count, of_them)| {
            (files + count, bytes.saturating_add(*of_them))
        })
    }

    fn add_small(&mut self, group: Group, files: u64, bytes: u64) {
        if self.groups.len() < GROUPS_MAX || self.groups.contains_key(&group) {
            let there = self.groups.entry(group).or_default();
            there.0 += files;
            there.1 = there.1.saturating_add(bytes);
        }
    }

    fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.records = self.records.saturating_add(other.records);
        self.small_files += other.small_files;
        self.old_spec_files += other.old_spec_files;
        self.heavy_files += other.heavy_files;
        for (group, (files, bytes)) in other.groups {
            self.add_small(group, files, bytes);
        }
    }
}

/// What one data file is compared with.
struct Rules {
    known: Known,
    small_below: u64,
    default_spec: i32,
    thresholds: Thresholds,
    deletes: Index,
}

impl Rules {
    fn count(&self, counts: &mut Counts, entry: &Entry) {
        let file = &entry.file;
        let bytes = file.file_size_in_bytes;
        let old = file.spec_id != self.default_spec;
        counts.files += 1;
        counts.bytes = counts.bytes.saturating_add(bytes);
        counts.records = counts.records.saturating_add(file.record_count);
        counts.old_spec_files += u64::from(old);
        // A rewrite passes over every other.
        let usable =
            file.file_format.eq_ignore_ascii_case("parquet") && file.key_metadata.is_none();
        if bytes < self.small_below {
            counts.small_files += 1;
            if usable {
                let group = if old { OTHER_SPECS } else { group_of(file) };
                counts.add_small(group, 1, bytes);
            }
        }
        if usable && self.deletes.weigh(entry).reaches(&self.thresholds, file) {
            counts.heavy_files += 1;
        }
    }
}

/// Reads the manifests of one table.
pub(super) struct Reader<'a> {
    storage: &'a Storage,
    table: &'a TableMetadata,
    types: Arc<SpecTypes>,
    thresholds: Thresholds,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        storage: &'a Storage,
        table: &'a TableMetadata,
        thresholds: Thresholds,
    ) -> Self {
        Self {
            storage,
            table,
            types: Arc::new(SpecTypes::of(table)),
            thresholds,
        }
    }

    pub(super) async fn deletes(&self, sample: &Sample<'_>) -> Result<Found, Error> {
        let known = Known::of(self.table);
        let global = Arc::new(super::deletes::global_specs(self.table));
        let add = move |found: &mut Found, entry: Entry| {
            known.check_entry(&entry)?;
            if entry.status != EntryStatus::Deleted {
                found.add(&entry, &global);
            }
            Ok(())
        };
        let mut found = self.each(sample, add, Found::merge).await?;
        found.index.sort();
        Ok(found)
    }

    pub(super) async fn data(&self, sample: &Sample<'_>, deletes: Index) -> Result<Counts, Error> {
        let rules = Arc::new(Rules {
            known: Known::of(self.table),
            small_below: small_below(self.thresholds.target_file_size_bytes),
            default_spec: self.table.default_spec().spec_id,
            thresholds: self.thresholds,
            deletes,
        });
        let add = move |counts: &mut Counts, entry: Entry| {
            rules.known.check_entry(&entry)?;
            if entry.status != EntryStatus::Deleted {
                rules.count(counts, &entry);
            }
            Ok(())
        };
        self.each(sample, add, Counts::merge).await
    }

    /// Counts the entries of every manifest of the sample, some at once.
    async fn each<T, Add>(
        &self,
        sample: &Sample<'_>,
        add: Add,
        merge: fn(&mut T, T),
    ) -> Result<T, Error>
    where
        T: Default + Send + 'static,
        Add: Fn(&mut T, Entry) -> Result<(), crate::avro::Malformed> + Clone + Send + 'static,
    {
        let known = Known::of(self.table);
        let check = |manifest: &ManifestFile| {
            let checked = known.check(manifest);
            checked.map_err(|why| crate::manifest::malformed(manifest, why))
        };
        sample.chosen.iter().copied().try_for_each(check)?;
        // Collected, for a closure over references in the stream would make this future not `Send`.
        let reads: Vec<_> = sample
            .chosen
            .iter()
            .map(|manifest| {
                let types = self.types.clone();
                fold(
                    self.storage,
                    manifest,
                    types,
                    Fields::PLAN,
                    T::default(),
                    add.clone(),
                )
            })
            .collect();
        let mut reads = stream::iter(reads).buffered(MANIFESTS_AT_ONCE);
        let mut whole = T::default();
        while let Some(counted) = reads.try_next().await? {
            merge(&mut whole, counted);
        }
        Ok(whole)
    }
}
