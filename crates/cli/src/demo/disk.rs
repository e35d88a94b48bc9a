//! What the demo's table takes on disk: every file below its folder, whoever wrote it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Disk {
    /// Looks through `folder`, passing over the files at these locations.
    pub(crate) fn of(folder: &Path, left_out: &BTreeSet<String>) -> Result<Self> {
        let name = |location: &String| location.rsplit('/').next().unwrap_or_default().to_owned();
        let mut disk = Self::default();
        // Names are unique: every file's carries an id of its own.
        disk.add(folder, &left_out.iter().map(name).collect())?;
        Ok(disk)
    }

    fn add(&mut self, folder: &Path, left_out: &BTreeSet<String>) -> Result<()> {
        let looking = || format!("look into {}", folder.display());
        for entry in std::fs::read_dir(folder).with_context(looking)? {
            let entry = entry.with_context(looking)?;
            let about = entry.metadata().with_context(looking)?;
            if about.is_dir() {
                self.add(&entry.path(), left_out)?;
            } else if !left_out.contains(entry.file_name().to_string_lossy().as_ref()) {
                self.files += 1;
                self.bytes += about.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_but_those_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("data/region=asia");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("a.parquet"), [0; 10]).unwrap();
        std::fs::write(deep.join("b.parquet"), [0; 5]).unwrap();
        std::fs::write(folder.path().join("m.json"), [0; 1]).unwrap();
        let left_out = BTreeSet::from(["file:///elsewhere/b.parquet".to_owned()]);
        let disk = Disk::of(folder.path(), &left_out).unwrap();
        assert_eq!((disk.files, disk.bytes), (2, 11));
    }
}
