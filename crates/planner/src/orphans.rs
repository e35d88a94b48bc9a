//! `remove_orphan_files`: which files in a table's folder nothing refers to, and why the others stay
//! (`lake.md` section 6).
//!
//! Pure: [`Search`] says what is looked at, [`Unreached`] holds what was listed until everything the
//! table reaches was struck from it, [`Found`] becomes the [`Plan`]. Listed first, then struck by
//! metadata loaded afterwards: whatever is committed in between is reached. Of a listed file only a
//! hash of its path is held, so a second listing names those left over. Two paths of one hash make
//! both stay. Where there are too many hashes, each pass holds those of one residue class.

mod options;
#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;

use metadata::TableMetadata;
use model::Advice;
use serde::{Deserialize, Serialize};
use storage::{Listed, Location, Scheme};

use crate::BadOption;
use options::asked;
pub use options::{OPTIONS, Options, PrefixMismatch};

/// Hashes held at once; folders of more files are looked through in as many passes as it takes.
/// Takes at most 60 MB, while the set grows.
pub const HASHES_MAX: usize = 3_600_000;
/// Files named by one plan; the next plan finds the others.
pub const FILES_MAX: usize = 50_000;
const AGE_DEFAULT_MS: i64 = 3 * 86_400_000;
const AGE_MIN_MS: i64 = 86_400_000;
/// What the table's clock may be ahead of ours.
const SKEW_MS_MAX: i64 = 60_000;
/// Folders outside the one looked through that are remembered.
const OUTSIDE_MAX: usize = 100_000;
/// Pairs a refusal names.
const MISMATCHES_MAX: usize = 10;
/// What executing holds: reading a table's manifests.
const MEMORY_BYTES: u64 = 64 << 20;
/// A planned file, beside its path: an entry of a map.
const FILE_BYTES: u64 = 256;

const YOUNG: &str = "written after older_than";
const AGELESS: &str = "nobody says when it was written";
const HIDDEN: &str = "hidden: a part of its path begins with `.` or `_`";
const REACHED: &str = "the table refers to it";
const ACCOUNTED: &str = "written by a job that may still commit, or waiting to be deleted";

/// Orphans found, pinned to one metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The metadata file that reaches none of them.
    pub metadata_location: String,
    pub options: Options,
    /// The folder that was looked through.
    pub location: String,
    /// Files written later were not looked at.
    pub older_than_ms: i64,
    /// By path, at most [`FILES_MAX`].
    pub files: Vec<Orphan>,
    /// All that were found, and what they hold.
    pub orphans: u64,
    pub bytes: u64,
    /// Files listed that stay, counted by reason.
    pub kept: BTreeMap<String, u64>,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

/// A file nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    pub path: String,
    pub size_bytes: u64,
    /// When it was last written, by its store's clock.
    pub modified_ms: i64,
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        let none = self.files.is_empty() && self.orphans == 0;
        none.then_some(if self.kept.is_empty() {
            "the folder holds no files"
        } else {
            "no file is an orphan"
        })
    }

    pub(crate) fn message(&self) -> String {
        let rest = self.orphans - self.files.len() as u64;
        let rest = if rest > 0 {
            format!(" ({rest} more are left to the next run)")
        } else {
            String::new()
        };
        format!(
            "would list {} orphan files for deletion{rest}; {} bytes in all, {} files stay",
            self.files.len(),
            self.bytes,
            self.kept.values().sum::<u64>()
        )
    }
}

/// The table or the options rule a search out; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; remove_orphan_files supports versions 1 and 2 in this version"
    )]
    FormatVersion(u8),
    #[error(
        "table property `gc.enabled` = `{0}`: files of this table may belong to others too, so nothing is removed"
    )]
    GarbageKept(String),
    #[error(
        "{0}, so nobody can say whose the files there are; if it is moved away, files it leaves behind are not \
         known to be its own: set `gc.enabled` = `false` on the table whose folder this is, or remove none"
    )]
    Shared(String),
    #[error(
        "{asked} leads to {real} by a link: a file there has two names, and only one is compared; nothing was removed"
    )]
    Link { asked: String, real: String },
    #[error(
        "the table refers to files in more than {OUTSIDE_MAX} folders outside the one looked through, which may be \
         links into it; look through the table's whole location"
    )]
    Scattered,
    #[error("{} of the table's files are referred to by another scheme or authority than they are listed under: {}; \
             nothing was removed; set prefix_mismatch_mode=ignore to leave such files alone", .count, .pairs.join(", "))]
    Mismatch { count: u64, pairs: Vec<String> },
    #[error(
        "the clock says {now_ms}, more than a minute before the table's last update at {last_updated_ms}: ages \
         counted from it would be wrong"
    )]
    Clock { now_ms: i64, last_updated_ms: i64 },
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Refused {
    pub fn advice(&self) -> Advice {
        match self {
            // Clocks are set right.
            Self::Clock { .. } => Advice::RetryLater,
            Self::FormatVersion(_)
            | Self::GarbageKept(_)
            | Self::Shared(_)
            | Self::Link { .. }
            | Self::Scattered
            | Self::Mismatch { .. }
            | Self::Option(_) => Advice::GiveUp,
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// As the table writes it, without a slash at its end.
    pub folder: String,
    pub root: Location,
    pub older_than_ms: i64,
    /// Partition fields that make a folder's name begin like a hidden one.
    hidden_fields: BTreeSet<String>,
    options: Options,
}

impl Search {
    /// What `options` ask for of a table, by the database's clock.
    pub fn of(table: &TableMetadata, options: &Options, now_ms: i64) -> Result<Self, Refused> {
        let version = table.format_version();
        if version > 2 {
            return Err(Refused::FormatVersion(version));
        }
        // As an expiry reads it: whatever is not `true` is false.
        if let Some(enabled) = table.property("gc.enabled")
            && !enabled.eq_ignore_ascii_case("true")
        {
            return Err(Refused::GarbageKept(enabled.to_owned()));
        }
        let last_updated_ms = table.last_updated_ms();
        if now_ms < last_updated_ms.saturating_sub(SKEW_MS_MAX) {
            return Err(Refused::Clock {
                now_ms,
                last_updated_ms,
            });
        }
        let older_than_ms = options
            .older_than_ms
            .unwrap_or_else(|| now_ms.saturating_sub(AGE_DEFAULT_MS));
        if older_than_ms > now_ms.saturating_sub(AGE_MIN_MS) && !options.force {
            let why = "lies less than 24 hours ago: a writer may not have committed its files yet; set force=true \
                       if nobody writes";
            return Err(asked("older_than", &older_than_ms.to_string())
                .refuse(why)
                .into());
        }
        let own = parsed(table.location())?;
        let folder = options.location.as_deref().unwrap_or(table.location());
        let root = parsed(folder)?;
        if !own.holds(&root) {
            let why = format!("must be {} or a folder below it", table.location());
            return Err(asked("location", folder).refuse(why).into());
        }
        // Files are named as the table's writers name theirs, however the user wrote the folder.
        let below = root.path().strip_prefix(own.path()).unwrap_or_default();
        let folder = format!("{}{below}", table.location().trim_end_matches('/'));
        let fields = table.specs().iter().flat_map(|spec| &spec.fields);
        let hidden_fields = fields
            .map(|field| field.name.clone())
            .filter(|name| name.starts_with(['.', '_']));
        Ok(Self {
            folder,
            root,
            older_than_ms,
            hidden_fields: hidden_fields.collect(),
            options: options.clone(),
        })
    }

    /// Whether the same is looked at for the table as it is by now; refuses what it would refuse now.
    pub fn again(&self, table: &TableMetadata, now_ms: i64) -> Result<bool, Refused> {
        let options = Options {
            older_than_ms: Some(self.older_than_ms),
            force: true,
            ..self.options.clone()
        };
        Ok(Self::of(table, &options, now_ms)?.root == self.root)
    }

    /// Why a listed file stays whatever refers to it.
    pub fn kept(&self, file: &Listed) -> Option<&'static str> {
        let Some(modified_ms) = file.modified_ms else {
            return Some(AGELESS);
        };
        if modified_ms >= self.older_than_ms {
            Some(YOUNG)
        } else if self.hidden(&file.location) {
            Some(HIDDEN)
        } else {
            None
        }
    }

    /// Whether a part of its path below the folder is hidden, as Iceberg's own listing has it: such
    /// files are markers and working files of other programs.
    fn hidden(&self, file: &Location) -> bool {
        let below = file.path().strip_prefix(self.root.path()).unwrap_or("");
        let mut parts = below.split('/');
        parts.any(|part| {
            let field = part.split_once('=').map(|(field, _)| field);
            part.starts_with(['.', '_'])
                && !field.is_some_and(|field| self.hidden_fields.contains(field))
        })
    }

    /// The file's path as the table would write it.
    pub fn spelled(&self, file: &Location) -> String {
        let below = file.path().strip_prefix(self.root.path());
        match below {
            Some(below) => format!("{}{below}", self.folder),
            None => file.to_string(),
        }
    }
}

fn parsed(location: &str) -> Result<Location, BadOption> {
    Location::parse(location).map_err(|error| asked("location", location).refuse(error))
}

/// Files that were listed and that nothing has reached yet: hashes of their paths, without scheme and
/// authority; of one pass, those of one residue class.
#[derive(Debug)]
pub struct Unreached {
    keys: RandomState,
    paths: HashSet<u64>,
    hashes_max: usize,
    class: u64,
    classes: u64,
    root: Location,
    mismatches: u64,
    pairs: Vec<String>,
    outside: BTreeSet<Location>,
}

impl Unreached {
    /// For the first pass, which finds out how many there must be.
    pub fn new(search: &Search, hashes_max: usize) -> Self {
        Self {
            keys: RandomState::new(),
            paths: HashSet::new(),
            hashes_max: hashes_max.max(1),
            class: 0,
            classes: 1,
            root: search.root.clone(),
            mismatches: 0,
            pairs: Vec::new(),
            outside: BTreeSet::new(),
        }
    }

    /// Begins the next pass, if there is one.
    pub fn next_pass(&mut self) -> bool {
        self.paths.clear();
        self.class += 1;
        self.class < self.classes
    }

    fn hash(&self, file: &Location) -> u64 {
        self.keys.hash_one(file.path())
    }

    /// Whether the file is of this pass. Each is of exactly one.
    fn passes(&self, file: &Location) -> bool {
        self.hash(file) % self.classes == self.class
    }

    pub fn offer(&mut self, file: &Location) {
        if !self.passes(file) {
            return;
        }
        let hash = self.hash(file);
        self.paths.insert(hash);
        while self.class == 0 && self.paths.len() > self.hashes_max {
            self.classes *= 2;
            let classes = self.classes;
            self.paths.retain(|hash| hash % classes == 0);
        }
    }

    /// Folders of local files that the table refers to and that lie outside the folder looked through,
    /// where a link may lead back into it.
    pub fn outside(&self) -> Result<impl Iterator<Item = &Location>, Refused> {
        if self.outside.len() > OUTSIDE_MAX {
            return Err(Refused::Scattered);
        }
        Ok(self.outside.iter())
    }

    /// Something refers to this file.
    pub fn strike(&mut self, file: &Location) {
        if *file.scheme() == Scheme::File
            && !self.root.holds(file)
            && self.outside.len() <= OUTSIDE_MAX
            && let Some(folder) = file.parent()
        {
            self.outside.insert(folder);
        }
        let hash = self.hash(file);
        if !self.paths.remove(&hash) {
            return;
        }
        let alike =
            file.scheme() == self.root.scheme() && file.authority() == self.root.authority();
        if !alike {
            self.mismatches += 1;
            if self.pairs.len() < MISMATCHES_MAX {
                let root = self.root.to_string();
                let listed = root.strip_suffix(self.root.path()).unwrap_or(&root);
                self.pairs
                    .push(format!("{file} (listed as {listed}{})", file.path()));
            }
        }
    }

    pub fn holds(&self, file: &Location) -> bool {
        self.paths.contains(&self.hash(file))
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// What a second listing found.
#[derive(Debug, Default)]
pub struct Found {
    files: BTreeMap<String, Orphan>,
    orphans: u64,
    bytes: u64,
    kept: BTreeMap<String, u64>,
}

impl Found {
    /// Takes a listed file; `known` are those that somebody answers for.
    pub fn take(
        &mut self,
        search: &Search,
        unreached: &Unreached,
        file: &Listed,
        known: &HashSet<Location>,
    ) {
        if !unreached.passes(&file.location) {
            return;
        }
        let why = search.kept(file);
        let why = why.or_else(|| (!unreached.holds(&file.location)).then_some(REACHED));
        let why = why.or_else(|| known.contains(&file.location).then_some(ACCOUNTED));
        let Some(modified_ms) = file.modified_ms.filter(|_| why.is_none()) else {
            self.keep(why.unwrap_or(AGELESS));
            return;
        };
        self.orphans += 1;
        self.bytes = self.bytes.saturating_add(file.size_bytes);
        let path = search.spelled(&file.location);
        let orphan = Orphan {
            path: path.clone(),
            size_bytes: file.size_bytes,
            modified_ms,
        };
        self.files.insert(path, orphan);
        // Those first by path, whatever the order of the listing.
        if self.files.len() > FILES_MAX {
            self.files.pop_last();
        }
    }

    fn keep(&mut self, why: &str) {
        *self.kept.entry(why.to_owned()).or_default() += 1;
    }

    /// The plan for the table of this key, judged on its metadata file.
    pub fn plan(
        self,
        (table, key, metadata_location): (&TableMetadata, &str, &str),
        search: &Search,
        unreached: &Unreached,
    ) -> Result<Plan, Refused> {
        if unreached.mismatches > 0 && search.options.prefix_mismatch_mode == PrefixMismatch::Error
        {
            return Err(Refused::Mismatch {
                count: unreached.mismatches,
                pairs: unreached.pairs.clone(),
            });
        }
        let files: Vec<Orphan> = self.files.into_values().collect();
        let paths = files
            .iter()
            .map(|file| file.path.len() as u64 * 2 + FILE_BYTES);
        let memory_bytes = MEMORY_BYTES.saturating_add(paths.sum());
        Ok(Plan {
            table: key.to_owned(),
            table_uuid: table.uuid().to_owned(),
            metadata_location: metadata_location.to_owned(),
            options: search.options.clone(),
            location: search.folder.clone(),
            older_than_ms: search.older_than_ms,
            files,
            orphans: self.orphans,
            bytes: self.bytes,
            kept: self.kept,
            memory_bytes,
        })
    }
}
