//! Local files, blocking: every function here runs on a thread of its own.
//!
//! A new file is written under a temporary name beside its place, synced, and linked to its
//! name, which fails when the name is taken: readers see all of it or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use crate::ranges::{Joining, cut, join, outside};
use crate::{Error, Listed, Location};

const JOINING: Joining = Joining {
    gap_max: 32 * 1024,
    length_max: 16 * 1024 * 1024,
};

/// A local file, and what its caller called it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    location: String,
    path: PathBuf,
}

impl Place {
    /// The file at `location`, written as `text`.
    pub(crate) fn new(text: &str, location: &Location) -> Self {
        Self {
            location: text.to_owned(),
            path: location.path().into(),
        }
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

    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

pub(crate) fn read(place: &Place, max: u64) -> Result<Bytes, Error> {
    let (file, size) = place.open()?;
    let too_long = |size| Error::TooLong {
        location: place.location.clone(),
        size,
        max,
    };
    if size > max {
        return Err(too_long(size));
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size as usize)
        .map_err(|_| place.fail("find memory for")(io::Error::from(io::ErrorKind::OutOfMemory)))?;
    // What is no plain file may go on for ever.
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(place.fail("read"))?;
    if bytes.len() as u64 > max {
        return Err(too_long(bytes.len() as u64));
    }
    Ok(bytes.into())
}

pub(crate) fn size(place: &Place) -> Result<u64, Error> {
    Ok(place.open()?.1)
}

pub(crate) fn modified_ms(place: &Place) -> Result<Option<i64>, Error> {
    let about = fs::symlink_metadata(&place.path).map_err(place.fail("look at"))?;
    Ok(written(&about))
}

/// When a file was last written, in milliseconds since the epoch.
fn written(about: &fs::Metadata) -> Option<i64> {
    let since = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Deletes files of one folder, and what a killed process left of writing them. What is not
/// there was deleted before.
pub(crate) fn delete(places: &[Place]) -> Vec<Result<(), Error>> {
    let gone = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let leftovers = places.first().map(|place| leftovers(place.folder()));
    let one = |place: &Place| {
        gone(&place.path).map_err(place.fail("delete"))?;
        let fail = place.fail("delete what was left of writing");
        let leftovers = match &leftovers {
            Some(Ok(leftovers)) => leftovers,
            Some(Err(error)) => return Err(fail(io::Error::new(error.kind(), error.to_string()))),
            None => return Ok(()),
        };
        let mut own = leftovers
            .iter()
            .filter(|(name, _)| place.path.file_name() == Some(name.as_ref()));
        own.try_for_each(|(_, path)| gone(path)).map_err(fail)
    };
    places.iter().map(one).collect()
}

/// Where a folder lies when links are followed.
pub(crate) fn resolve(folder: &Location) -> Result<Location, Error> {
    let asked = folder.to_string();
    let path = match fs::canonicalize(folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folder.clone()),
        path => path.map_err(|source| Error::io("follow links to", &asked, source))?,
    };
    match path.to_str() {
        Some(path) => Location::parse(path),
        None => Err(Error::BadLocation {
            location: asked,
            why: "a link in it leads to a name that is no text",
        }),
    }
}

/// Files of a listing that are told at once.
const LISTED_AT_ONCE: usize = 1_000;

/// A walk through a folder and those below it.
#[derive(Debug)]
pub(crate) struct Walk {
    /// What the caller called it.
    asked: String,
    folders: Vec<PathBuf>,
    open: Option<fs::ReadDir>,
    link: Option<PathBuf>,
}

impl Walk {
    pub(crate) fn new(asked: String, folder: PathBuf) -> Self {
        Self {
            asked,
            folders: vec![folder],
            open: None,
            link: None,
        }
    }

    /// The first link that was met.
    pub(crate) fn link(&self) -> Option<&Path> {
        self.link.as_deref()
    }

    /// The next plain files, or `None` at the end. A folder or file that is gone meanwhile is passed
    /// over, and so is a link.
    pub(crate) fn step(mut self) -> Result<(Self, Option<Vec<Listed>>), Error> {
        let asked = self.asked.clone();
        let fail = |source| Error::io("list", &asked, source);
        let mut files = Vec::new();
        while files.len() < LISTED_AT_ONCE {
            let Some(entries) = &mut self.open else {
                let Some(folder) = self.folders.pop() else {
                    let told = (!files.is_empty()).then_some(files);
                    return Ok((self, told));
                };
                self.open = match fs::read_dir(&folder) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    entries => Some(entries.map_err(fail)?),
                };
                continue;
            };
            let Some(entry) = entries.next() else {
                self.open = None;
                continue;
            };
            let entry = entry.map_err(fail)?;
            // Of a link, this is the link's own.
            let about = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                about => about.map_err(fail)?,
            };
            if about.is_dir() {
                self.folders.push(entry.path());
            } else if about.is_file() {
                files.extend(listed(&entry.path(), &about));
            } else if about.is_symlink() && self.link.is_none() {
                self.link = Some(entry.path());
            }
        }
        Ok((self, Some(files)))
    }
}

/// A plain file; none whose name is no text, for that is in no table's metadata.
fn listed(path: &Path, about: &fs::Metadata) -> Option<Listed> {
    let Some(location) = path.to_str().and_then(|path| Location::parse(path).ok()) else {
        tracing::warn!(path = %path.display(), "a file has a name that no location has, it is not listed");
        return None;
    };
    Some(Listed {
        location,
        size_bytes: about.len(),
        modified_ms: written(about),
    })
}

/// The temporary files in a folder, each with the name it was to get.
fn leftovers(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(target) {
            found.push((name.to_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// A temporary name: it tells which name it will get, and never equals another writer's, so that
/// nobody can link or delete what somebody else is writing to another name.
fn temporary(name: &str) -> String {
    format!(".{name}.{:016x}.tmp", rand::random::<u64>())
}

/// The name a file with this temporary name was to get.
fn target(temporary: &str) -> Option<&str> {
    let (name, number) = temporary
        .strip_prefix('.')?
        .strip_suffix(".tmp")?
        .rsplit_once('.')?;
    let ours = number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit());
    ours.then_some(name)
}

pub(crate) fn read_ranges(place: &Place, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
    let (file, size) = place.open()?;
    if let Some(range) = outside(ranges, size) {
        let location = place.location.clone();
        return Err(Error::OutOfRange {
            location,
            start: range.start,
            end: range.end,
            size,
        });
    }
    let mut joined = Vec::new();
    for range in join(ranges, JOINING) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)
            .map_err(place.fail("read"))?;
        joined.push((range, Bytes::from(bytes)));
    }
    Ok(cut(ranges, &joined))
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
        let path = place.folder().join(temporary(&name.to_string_lossy()));
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
