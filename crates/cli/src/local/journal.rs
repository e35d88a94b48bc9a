//! The journal of work without a database: one JSON object a line, appended and synced before
//! whatever it covers is done.
//!
//! Knows the form of a journal and how it is kept; what its lines add up to is [`Book`]'s. One
//! process at a time holds it, by a lock of the operating system that ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use model::{AttemptId, JobId};
use planner::{Fate, Intent};
use serde::{Deserialize, Serialize};

use super::book::Book;

/// The form written here, and the only one read.
const VERSION: u32 = 1;

/// The first line: what the journal is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    #[serde(rename = "snowpack_journal")]
    version: u32,
    pub(crate) catalog: String,
    pub(crate) table: String,
    pub(crate) table_uuid: String,
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(with = "moment")]
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

/// What was done, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A process took the journal; what follows is its doing.
    Begun { job: JobId, attempt: AttemptId },
    /// Files about to be written.
    Reserved { files: Vec<Written> },
    /// Files of this process that its commit made part of the table.
    Landed { paths: Vec<String> },
    /// An expiry about to be swapped.
    Intended { id: i64, intent: Intent },
    /// Files that may be deleted after `at` and the grace.
    Listed { grace_ms: i64, files: Vec<Waits> },
    /// Of the intent, only these snapshots are still open.
    Settled { id: i64, open: Vec<i64> },
    /// What became of files that were due.
    Purged { files: Vec<Ended> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waits {
    pub(crate) path: String,
    pub(crate) size_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) path: String,
    pub(crate) fate: Became,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Became {
    Deleted,
    Kept,
    /// Due again at the next run.
    Failed,
}

impl Ended {
    pub(crate) fn new(path: &str, fate: &Fate) -> Self {
        let (fate, why) = match fate {
            Fate::Deleted => (Became::Deleted, None),
            Fate::Kept(why) => (Became::Kept, Some(why.clone())),
            Fate::Failed(why) => (Became::Failed, Some(why.clone())),
        };
        let path = path.to_owned();
        Self { path, fate, why }
    }
}

impl Header {
    pub(crate) fn new(catalog: &str, table: &str, table_uuid: &str) -> Self {
        Self {
            version: VERSION,
            catalog: catalog.to_owned(),
            table: table.to_owned(),
            table_uuid: table_uuid.to_owned(),
        }
    }
}

/// An open journal, locked.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Drop for Journal {
    /// A child that was started and is not yet another program has the file open as well, and
    /// would go on holding the lock.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Journal {
    /// Makes a new journal; refuses a path that exists.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self> {
        let doing = || format!("create the journal {}", path.display());
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .with_context(doing)?;
        let mut journal = Self::lock(path, file)?;
        journal.write(header)?;
        // The name must survive a crash as the lines do.
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .with_context(doing)?;
        Ok(journal)
    }

    /// Opens a journal that is there, and reads it. A last line cut short by a crash is dropped:
    /// what it was to cover was never done.
    pub(crate) fn open(path: &Path) -> Result<(Self, Header, Book)> {
        let doing = || format!("read the journal {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .with_context(doing)?;
        let mut journal = Self::lock(path, file)?;
        let mut bytes = Vec::new();
        journal.file.seek(SeekFrom::Start(0)).with_context(doing)?;
        journal.file.read_to_end(&mut bytes).with_context(doing)?;
        let read = read(&bytes).with_context(doing)?;
        if read.whole < bytes.len() as u64 {
            tracing::warn!(
                journal = %path.display(),
                "the last line is cut short, as a crash leaves it; it is dropped"
            );
            journal
                .file
                .set_len(read.whole)
                .and_then(|()| journal.file.sync_all())
                .with_context(|| format!("drop the last line of {}", path.display()))?;
        }
        Ok((journal, read.header, read.book))
    }

    fn lock(path: &Path, file: File) -> Result<Self> {
        let path = path.to_owned();
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => {
                bail!("{} is in use by another snowpack", path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("lock {}", path.display()))
            }
        }
    }

    /// Appends a line; it is on the disk when this returns.
    pub(crate) fn append(&mut self, line: &Line) -> Result<()> {
        self.write(line)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("write to the journal {}", self.path.display()))
    }
}

/// A journal's text, understood.
#[derive(Debug)]
struct Contents {
    header: Header,
    book: Book,
    /// Bytes up to the end of the last good line.
    whole: u64,
}

fn read(bytes: &[u8]) -> Result<Contents> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    let first = lines.next().context("it is empty")?;
    ensure!(first.ends_with(b"\n"), "line 1 is cut short");
    let header: Header = serde_json::from_slice(first)
        .map_err(|error| anyhow::anyhow!("line 1 is no journal's first: {error}"))?;
    ensure!(
        header.version == VERSION,
        "it has version {} and this program reads {VERSION}",
        header.version
    );
    let (mut book, mut whole, mut number) = (Book::default(), first.len() as u64, 1);
    while let Some(bytes) = lines.next() {
        number += 1;
        let last = lines.peek().is_none();
        if !bytes.ends_with(b"\n") {
            break;
        }
        let applied = serde_json::from_slice::<Line>(bytes)
            .map_err(anyhow::Error::from)
            .and_then(|line| book.apply(&line));
        match applied {
            Err(_) if last => break,
            Err(error) => bail!("line {number}: {error}"),
            Ok(()) => whole += bytes.len() as u64,
        }
    }
    Ok(Contents {
        header,
        book,
        whole,
    })
}

/// Times as people read them.
mod moment {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::new("lake", "db.t", "uuid-1")
    }

    fn listed(path: &str) -> Line {
        Line {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            entry: Entry::Listed {
                grace_ms: 1,
                files: vec![Waits {
                    path: path.to_owned(),
                    size_bytes: Some(7),
                }],
            },
        }
    }

    fn begun() -> Line {
        Line {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            entry: Entry::Begun {
                job: JobId::new("job"),
                attempt: AttemptId::new("attempt"),
            },
        }
    }

    fn journal(folder: &Path) -> PathBuf {
        let path = folder.join("journal.jsonl");
        let mut journal = Journal::create(&path, &header()).unwrap();
        for line in [begun(), listed("a"), listed("b")] {
            journal.append(&line).unwrap();
        }
        path
    }

    fn waiting(path: &Path) -> Result<usize> {
        Journal::open(path).map(|(_, _, book)| book.waiting().count())
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(folder.path());
        let (_, found, book) = Journal::open(&path).unwrap();
        assert_eq!((found, book.waiting().count()), (header(), 2));
        let error = format!("{:#}", Journal::create(&path, &header()).unwrap_err());
        assert!(error.contains("exists"), "{error}");
    }

    #[test]
    fn one_process_at_a_time_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(folder.path());
        let held = Journal::open(&path).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
        drop(held);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn a_line_cut_anywhere_is_dropped_and_the_next_one_goes_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(folder.path());
        let whole = std::fs::read(&path).unwrap();
        let last = whole.len() - serde_json::to_vec(&listed("b")).unwrap().len() - 1;
        for cut in last + 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, _, book) = Journal::open(&path).unwrap();
            assert_eq!(book.waiting().count(), 1, "cut at {cut}");
            journal.append(&listed("c")).unwrap();
            drop(journal);
            assert_eq!(waiting(&path).unwrap(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_line_elsewhere_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = journal(folder.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[2] = "{\"at\":\"2026-01-01T00:00:00Z\",\"entry\":\"eaten\"}";
        std::fs::write(&path, lines.join("\n")).unwrap();
        let error = format!("{:#}", waiting(&path).unwrap_err());
        assert!(
            error.contains("line 3") && error.contains("eaten"),
            "{error}"
        );
        std::fs::write(&path, "no journal\n").unwrap();
        let error = format!("{:#}", waiting(&path).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
        let newer = text.replacen("\"snowpack_journal\":1", "\"snowpack_journal\":2", 1);
        std::fs::write(&path, newer).unwrap();
        let error = format!("{:#}", waiting(&path).unwrap_err());
        assert!(error.contains("version 2"), "{error}");
    }
}
