//! The manifests of the new snapshot: those with removed files rewritten, all others carried.
//!
//! What was written for one try is used again by the next, as long as it is still right.

use std::collections::{BTreeMap, HashMap, HashSet};

use catalog::Table;
use metadata::{
    DataFile, Entry, LiveFiles, ManifestContent, ManifestFile, ManifestWriter, rewrite_manifest,
};

use super::swap::NewFile;
use crate::Error;
use crate::files::place::Places;
use crate::rewrite::Rewritten;

/// Manifests of one commit, over all its tries.
#[derive(Debug)]
pub(crate) struct Manifests {
    pub(crate) snapshot_id: i64,
    /// Every manifest handed out to be reserved and written.
    pub(crate) written: Vec<String>,
    /// Made and not handed out yet: a try that ends before it is whole leaves them to the next.
    pending: Vec<NewFile>,
    added: Option<Vec<ManifestFile>>,
    /// By the path of the manifest replaced.
    replaced: HashMap<String, Replaced>,
    /// The manifests of removed entries, and which manifests they were taken from.
    deleted: Option<(Taken, Vec<ManifestFile>)>,
}

/// Paths of manifests, and how many entries were taken from each.
type Taken = Vec<(String, usize)>;

#[derive(Debug, Clone)]
struct Replaced {
    survivors: Option<ManifestFile>,
    removed: Vec<Entry>,
}

/// One try's manifests.
#[derive(Debug)]
pub(crate) struct Built {
    /// In the order of the new list.
    pub(crate) manifests: Vec<ManifestFile>,
    /// Entries removed, data and delete files.
    pub(crate) removed: Vec<Entry>,
    /// What must be reserved and written.
    pub(crate) new_files: Vec<NewFile>,
}

fn metadata_error(doing: &'static str) -> impl Fn(metadata::Error) -> Error {
    move |source| Error::Metadata { doing, source }
}

impl Manifests {
    pub(crate) fn new(snapshot_id: i64) -> Self {
        Self {
            snapshot_id,
            written: Vec::new(),
            pending: Vec::new(),
            added: None,
            replaced: HashMap::new(),
            deleted: None,
        }
    }

    /// Delete files added, each with its data sequence number, and those to drop. Outputs carry the
    /// sequence number planned on, or the commit's when `keep_sequence` is false.
    pub(crate) async fn build(
        &mut self,
        base: &Table,
        live: &LiveFiles,
        groups: &[Rewritten],
        (added, dropped): (&[(DataFile, i64)], &[String]),
        sequence: (&Places, bool),
    ) -> Result<Built, Error> {
        // What an earlier try made and did not come to hand out is used again, so it must be written.
        let mut new_files = std::mem::take(&mut self.pending);
        let changes = (groups, added, dropped);
        let made = self.make(base, live, changes, sequence, &mut new_files);
        match made.await {
            Ok((manifests, removed)) => {
                let paths = new_files.iter().map(|file| file.path.clone());
                self.written.extend(paths);
                Ok(Built {
                    manifests,
                    removed,
                    new_files,
                })
            }
            Err(error) => {
                self.pending = new_files;
                Err(error)
            }
        }
    }

    /// The new list's manifests, and the entries removed.
    async fn make(
        &mut self,
        base: &Table,
        live: &LiveFiles,
        (groups, added, dropped): (&[Rewritten], &[(DataFile, i64)], &[String]),
        (places, keep_sequence): (&Places, bool),
        new_files: &mut Vec<NewFile>,
    ) -> Result<(Vec<ManifestFile>, Vec<Entry>), Error> {
        let removed: HashSet<String> = groups
            .iter()
            .flat_map(|group| group.group.inputs.iter().map(|input| input.path.clone()))
            .chain(dropped.iter().cloned())
            .collect();
        let touched = touched(live, &removed);
        for (index, count) in &touched {
            let manifest = &live.manifests[*index];
            if !self.is_replaced(manifest, &removed, *count) {
                self.replace(base, manifest, &removed, places, new_files)
                    .await?;
            }
        }
        let mut manifests = self.add(base, (groups, added), (places, keep_sequence), new_files)?;
        manifests.extend(self.delete(base, live, &touched, places, new_files)?);
        let mut entries = Vec::new();
        for (index, manifest) in live.manifests.iter().enumerate() {
            if touched.contains_key(&index) {
                let replaced = &self.replaced[&manifest.manifest_path];
                manifests.extend(replaced.survivors.clone());
                entries.extend(replaced.removed.iter().cloned());
            } else {
                manifests.push(manifest.clone());
            }
        }
        if entries.len() != removed.len() {
            return Err(Error::Counts(format!(
                "{} files are removed, their manifests hold {} of them",
                removed.len(),
                entries.len()
            )));
        }
        Ok((manifests, entries))
    }

    /// Of all manifests written, those that are `listed`: of an earlier try some may not be.
    pub(crate) fn landed(&self, listed: &[ManifestFile]) -> Vec<String> {
        let listed: HashSet<&str> = listed
            .iter()
            .map(|manifest| manifest.manifest_path.as_str())
            .collect();
        let written = self.written.iter();
        let landed = written.filter(|path| listed.contains(path.as_str()));
        landed.cloned().collect()
    }

    /// Whether an earlier try took the same `count` files out of the manifest.
    fn is_replaced(
        &self,
        manifest: &ManifestFile,
        removed: &HashSet<String>,
        count: usize,
    ) -> bool {
        self.replaced
            .get(&manifest.manifest_path)
            .is_some_and(|known| {
                known.removed.len() == count
                    && known
                        .removed
                        .iter()
                        .all(|entry| removed.contains(&entry.file.file_path))
            })
    }

    async fn replace(
        &mut self,
        base: &Table,
        manifest: &ManifestFile,
        removed: &HashSet<String>,
        places: &Places,
        new_files: &mut Vec<NewFile>,
    ) -> Result<(), Error> {
        let bytes = base
            .storage
            .read(&manifest.manifest_path)
            .await
            .map_err(|source| Error::Storage {
                doing: "read a manifest",
                source,
            })?;
        let path = places.manifest();
        let rewritten = rewrite_manifest(
            &bytes,
            manifest,
            &base.metadata,
            removed,
            self.snapshot_id,
            &path,
        )
        .map_err(metadata_error("replace a manifest"))?;
        let survivors = rewritten.survivors.map(|(bytes, manifest)| {
            new_files.push(NewFile {
                path: path.clone(),
                bytes,
                kind: "manifest",
            });
            manifest
        });
        let replaced = Replaced {
            survivors,
            removed: rewritten.removed,
        };
        // As many files of the same manifests may be others than at the last try.
        self.deleted = None;
        self.replaced
            .insert(manifest.manifest_path.clone(), replaced);
        Ok(())
    }

    /// One manifest for each spec of the outputs, and of the delete files added.
    fn add(
        &mut self,
        base: &Table,
        (groups, deletes): (&[Rewritten], &[(DataFile, i64)]),
        (places, keep_sequence): (&Places, bool),
        new_files: &mut Vec<NewFile>,
    ) -> Result<Vec<ManifestFile>, Error> {
        if let Some(added) = &self.added {
            return Ok(added.clone());
        }
        let mut writers = BTreeMap::new();
        for (file, sequence) in deletes {
            let key = (ManifestContent::Deletes, file.spec_id);
            writer(&mut writers, base, key, self.snapshot_id)?
                .add(file, Some(*sequence))
                .map_err(metadata_error("add a delete file to a manifest"))?;
        }
        for group in groups {
            let sequence = keep_sequence.then_some(group.pin.sequence_number);
            for output in &group.outputs {
                writer(
                    &mut writers,
                    base,
                    (ManifestContent::Data, output.spec_id),
                    self.snapshot_id,
                )?
                .add(output, sequence)
                .map_err(metadata_error("add a file to a manifest"))?;
            }
        }
        let added = finish(writers, places, new_files)?;
        self.added = Some(added.clone());
        Ok(added)
    }

    /// All removed entries, in one manifest for each content and spec.
    fn delete(
        &mut self,
        base: &Table,
        live: &LiveFiles,
        touched: &HashMap<usize, usize>,
        places: &Places,
        new_files: &mut Vec<NewFile>,
    ) -> Result<Vec<ManifestFile>, Error> {
        let mut from: Vec<(String, usize)> = touched
            .iter()
            .map(|(index, count)| (live.manifests[*index].manifest_path.clone(), *count))
            .collect();
        from.sort_unstable();
        if let Some((taken_from, deleted)) = &self.deleted
            && *taken_from == from
        {
            return Ok(deleted.clone());
        }
        let mut writers = BTreeMap::new();
        for (path, _) in &from {
            let content = live
                .manifests
                .iter()
                .find(|manifest| manifest.manifest_path == *path)
                .map(|m| m.content);
            for entry in &self.replaced[path].removed {
                let key = (content.unwrap_or(ManifestContent::Data), entry.file.spec_id);
                writer(&mut writers, base, key, self.snapshot_id)?
                    .add_deleted(entry)
                    .map_err(metadata_error("note a removed file"))?;
            }
        }
        let deleted = finish(writers, places, new_files)?;
        self.deleted = Some((from, deleted.clone()));
        Ok(deleted)
    }
}

/// Manifests that hold removed files, and how many.
fn touched(live: &LiveFiles, removed: &HashSet<String>) -> HashMap<usize, usize> {
    let mut touched = HashMap::new();
    for file in live.data.iter().chain(&live.deletes) {
        if removed.contains(&file.file.file_path) {
            *touched.entry(file.manifest).or_default() += 1;
        }
    }
    touched
}

type Writers = BTreeMap<(ManifestContent, i32), ManifestWriter>;

fn writer<'w>(
    writers: &'w mut Writers,
    base: &Table,
    key: (ManifestContent, i32),
    snapshot_id: i64,
) -> Result<&'w mut ManifestWriter, Error> {
    use std::collections::btree_map::Entry as Slot;
    match writers.entry(key) {
        Slot::Occupied(slot) => Ok(slot.into_mut()),
        Slot::Vacant(slot) => {
            let writer = ManifestWriter::new(key.0, &base.metadata, key.1, snapshot_id)
                .map_err(metadata_error("begin a manifest"))?;
            Ok(slot.insert(writer))
        }
    }
}

fn finish(
    writers: Writers,
    places: &Places,
    new_files: &mut Vec<NewFile>,
) -> Result<Vec<ManifestFile>, Error> {
    let mut manifests = Vec::with_capacity(writers.len());
    for writer in writers.into_values() {
        let path = places.manifest();
        let (bytes, manifest) = writer
            .finish(&path)
            .map_err(metadata_error("finish a manifest"))?;
        new_files.push(NewFile {
            path,
            bytes,
            kind: "manifest",
        });
        manifests.push(manifest);
    }
    Ok(manifests)
}
