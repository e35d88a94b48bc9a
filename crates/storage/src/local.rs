//! Local files, blocking: every function here runs on a thread of its own.
//!
//! A new file is written under a temporary name beside its place, synced, and linked to its
//! name, which fails when the name is taken: readers see all of it or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::{Error, Location};

/// Bytes between two ranges that are read and thrown away rather than asked for apart.
const GAP_BYTES_MAX: u64 = 32 * 1024;
/// Longest read made by joining ranges.
const JOINED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A local file, and what its caller called it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    location: String,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new(text: &str, location: &Location) -> Result<Self, Error> {
        Ok(Self {
            location: text.to_owned(),
            path: location.file()?.to_owned(),
        })
    }

    fn fail(&self, doing: &'static str) -> impl Fn(io::Error) -> Error + '_ {
        move |source| Error::io(doing, &self.location, source)
    }

    fn open(&self) -> Result<(File, u64), Error> {
        let file = File::open(&self.path).map_err(self.fail("open"))?;
        let about = file.metadata().map_err(self.fail("look at"))?;
        if about.is_dir() {
            return Err(self.fail("read")(io::Error::from(
                io::ErrorKind::IsADirectory,
            )));
        }
        Ok((file, about.len()))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

pub(crate) fn read(place: &Place) -> Result<Bytes, Error> {
    let (mut file, size) = place.open()?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size as usize)
        .map_err(|_| place.fail("find memory for")(io::Error::from(io::ErrorKind::OutOfMemory)))?;
    file.read_to_end(&mut bytes).map_err(place.fail("read"))?;
    Ok(bytes.into())
}

pub(crate) fn size(place: &Place) -> Result<u64, Error> {
    Ok(place.open()?.1)
}

/// What is not there was deleted before.
pub(crate) fn delete(place: &Place) -> Result<(), Error> {
    match fs::remove_file(&place.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(place.fail("delete")),
    }
}

pub(crate) fn read_ranges(place: &Place, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
    let (file, size) = place.open()?;
    if let Some(range) = ranges
        .iter()
        .find(|range| range.start > range.end || range.end > size)
    {
        let location = place.location.clone();
        return Err(Error::OutOfRange {
            location,
            start: range.start,
            end: range.end,
            size,
        });
    }
    let mut joined = Vec::new();
    for range in join(ranges) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)
            .map_err(place.fail("read"))?;
        joined.push((range, Bytes::from(bytes)));
    }
    let cut = |range: &Range<u64>| {
        let at = joined.partition_point(|(whole, _)| whole.start <= range.start) - 1;
        let (whole, bytes) = &joined[at];
        bytes.slice((range.start - whole.start) as usize..(range.end - whole.start) as usize)
    };
    Ok(ranges
        .iter()
        .map(|range| {
            if range.is_empty() {
                Bytes::new()
            } else {
                cut(range)
            }
        })
        .collect())
}

/// The reads that cover every range: sorted, apart, each range within one of them.
fn join(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.end <= last.end => {}
            // What overlaps is never read twice, however long it gets.
            Some(last)
                if range.start < last.end
                    || (range.start - last.end <= GAP_BYTES_MAX
                        && range.end - last.start <= JOINED_BYTES_MAX) =>
            {
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}

pub(crate) fn write_new(place: &Place, bytes: &[u8]) -> Result<(), Error> {
    let mut partial = Partial::create(place)?;
    partial.put(bytes)?;
    partial.finish()
}

/// A file without its name yet. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Partial {
    place: Place,
    path: PathBuf,
    file: File,
}

impl Partial {
    pub(crate) fn create(place: &Place) -> Result<Self, Error> {
        let Some(name) = place.path.file_name() else {
            return Err(place.fail("create")(io::Error::from(
                io::ErrorKind::IsADirectory,
            )));
        };
        if place.path.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists {
                location: place.location.clone(),
            });
        }
        fs::create_dir_all(place.folder()).map_err(place.fail("make the folder of"))?;
        // A name too long for a prefix and a suffix is cut: the number keeps it unique.
        let name: String = name.to_string_lossy().chars().take(40).collect();
        let path = place
            .folder()
            .join(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(place.fail("create"))?;
        Ok(Self {
            place: place.clone(),
            path,
            file,
        })
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(self.place.fail("write"))
    }

    /// Syncs it and gives it its name.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.file.sync_all().map_err(self.place.fail("sync"))?;
        fs::hard_link(&self.path, &self.place.path).map_err(self.place.fail("name"))?;
        File::open(self.place.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(self.place.fail("sync the folder of"))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "temporary file left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn close_ranges_are_read_together_and_far_ones_apart() {
        let far = GAP_BYTES_MAX + 11;
        assert_eq!(
            join(&[0..10, 12..20, far + 10..far + 20]),
            [0..20, far + 10..far + 20]
        );
        assert_eq!(
            join(&[5..9, 0..10, 200_000..200_001]),
            [0..10, 200_000..200_001]
        );
    }

    proptest! {
        #[test]
        fn every_range_lies_in_one_read_and_reads_do_not_overlap(
            ranges in prop::collection::vec((0u64..1_000_000, 0u64..100_000), 0..20),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(at, length)| at..at + length).collect();
            let joined = join(&ranges);
            prop_assert!(joined.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                prop_assert!(joined.iter().any(|whole| whole.start <= range.start && range.end <= whole.end));
            }
        }
    }
}
