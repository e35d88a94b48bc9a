//! The kinds of tables in the demo's lakehouse: how each was written, what its owner said, and
//! what must become of it.

use std::collections::BTreeMap;

use anyhow::Result;
use model::TableName;

use crate::demo::writer::Habit;

/// The database whose owner enrolled its tables.
pub(crate) const ENROLLED: &str = "shop";
/// The database about which nobody said anything.
pub(crate) const UNENROLLED: &str = "attic";

/// Of the database `ENROLLED`: maintained whenever a run finds something, and only what the newest
/// snapshot needs is kept. The demo waits for nothing.
pub(crate) const DATABASE_PROPERTIES: [(&str, &str); 3] = [
    ("snowpack.maintenance_enabled", "true"),
    ("snowpack.maintenance_cadence_hours", "0"),
    ("snowpack.max_snapshot_age_days", "0"),
];

const CADENCE: &str = "snowpack.maintenance_cadence_hours";
const ROWS_PER_FILE: u32 = 80;
const REGIONS: usize = 4;
const TARGET_BYTES: u64 = 64 * 1024;
/// Below what a file of `ROWS_PER_FILE` takes.
const OWN_TARGET_BYTES: &str = "2048";
/// Of so many tables, one is of each kind that is not plainly neglected.
const ONE_IN: usize = 20;

/// What is the matter with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ManyFiles,
    ManyDeletes,
    ManySnapshots,
    /// Its writer goes on after the first round.
    Streaming,
    /// Its cadence is a word nobody can read.
    Unreadable,
    /// Neglected, and its owner wants one job a day.
    Patient,
    Fresh,
    /// Neglected by the defaults, fine by its own properties.
    OwnLimits,
    OptedOut,
    SkipFlag,
    NobodySaid,
    CorruptMetadata,
    /// One of its data files is no Parquet file.
    BrokenFile,
}

/// What must become of a table without anybody's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Healthy at the end, by jobs that completed.
    Maintained,
    /// One job, then it waits for its own cadence.
    MaintainedOnce,
    /// Healthy from the beginning, and nobody touches it.
    Fine,
    /// Every run skips it for this reason.
    LeftAlone(&'static str),
    /// Its jobs fail until it is quarantined.
    Quarantined,
}

/// How many checkpoints its writer made, and of how many files each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) checkpoints: usize,
    pub(crate) files: usize,
    pub(crate) changes_every: Option<u64>,
}

impl Kind {
    const NEGLECTED: [Self; 3] = [Self::ManyFiles, Self::ManyDeletes, Self::ManySnapshots];
    const OTHERS: [Self; 10] = [
        Self::Streaming,
        Self::Unreadable,
        Self::Patient,
        Self::Fresh,
        Self::OwnLimits,
        Self::OptedOut,
        Self::SkipFlag,
        Self::NobodySaid,
        Self::CorruptMetadata,
        Self::BrokenFile,
    ];

    /// The kinds of a lakehouse of so many tables: each is there.
    pub(crate) fn of_fleet(tables: usize) -> Vec<Self> {
        let each = (tables / ONE_IN).max(1);
        let mut kinds = Self::OTHERS.repeat(each);
        let neglected = Self::NEGLECTED.into_iter().cycle();
        kinds.extend(neglected.take(tables.saturating_sub(kinds.len())));
        kinds.sort_unstable();
        kinds
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ManyFiles => "many_files",
            Self::ManyDeletes => "many_deletes",
            Self::ManySnapshots => "many_snapshots",
            Self::Streaming => "streaming",
            Self::Unreadable => "unreadable_cadence",
            Self::Patient => "own_cadence",
            Self::Fresh => "fresh",
            Self::OwnLimits => "own_limits",
            Self::OptedOut => "opted_out",
            Self::SkipFlag => "skip_flag",
            Self::NobodySaid => "nobody_said",
            Self::CorruptMetadata => "corrupt_metadata",
            Self::BrokenFile => "broken_file",
        }
    }

    pub(crate) fn fate(self) -> Fate {
        match self {
            Self::ManyFiles
            | Self::ManyDeletes
            | Self::ManySnapshots
            | Self::Streaming
            | Self::Unreadable => Fate::Maintained,
            Self::Patient => Fate::MaintainedOnce,
            Self::Fresh | Self::OwnLimits => Fate::Fine,
            Self::OptedOut | Self::NobodySaid => Fate::LeftAlone("opted_out"),
            Self::SkipFlag => Fate::LeftAlone("skip_flag"),
            Self::CorruptMetadata => Fate::LeftAlone("unreadable"),
            Self::BrokenFile => Fate::Quarantined,
        }
    }

    /// Its writer goes on while the others rest.
    pub(crate) fn streams(self) -> bool {
        self == Self::Streaming
    }

    pub(crate) fn table(self, number: usize) -> Result<TableName> {
        let database = match self {
            Self::NobodySaid => UNENROLLED,
            _ => ENROLLED,
        };
        let table = format!("{}_{number:02}", self.word());
        Ok(TableName::new([database], &table)?)
    }

    pub(crate) fn written(self) -> Written {
        let (checkpoints, files, changes_every) = match self {
            Self::ManyFiles => (12, 4, None),
            Self::ManyDeletes => (8, 4, Some(2)),
            Self::ManySnapshots => (24, 1, Some(6)),
            Self::Fresh => (1, 4, None),
            Self::Streaming
            | Self::Unreadable
            | Self::Patient
            | Self::OwnLimits
            | Self::OptedOut
            | Self::SkipFlag
            | Self::NobodySaid
            | Self::CorruptMetadata
            | Self::BrokenFile => (6, 4, None),
        };
        Written {
            checkpoints,
            files,
            changes_every,
        }
    }

    pub(crate) fn habit(self, seed: u64) -> Habit {
        Habit {
            seed,
            regions: REGIONS,
            rows_per_file: ROWS_PER_FILE,
            changes_every: self.written().changes_every,
            target_bytes: TARGET_BYTES,
            properties: self.properties(),
        }
    }

    /// What the table's owner said. Nobody waits a day for the demo's deletions.
    fn properties(self) -> BTreeMap<String, String> {
        let own: &[(&str, &str)] = match self {
            Self::Patient => &[(CADENCE, "24")],
            Self::Unreadable => &[(CADENCE, "soon")],
            Self::OwnLimits => &[
                ("snowpack.target_file_size_bytes", OWN_TARGET_BYTES),
                ("snowpack.max_snapshot_age_days", "30"),
            ],
            Self::OptedOut => &[("snowpack.maintenance_enabled", "false")],
            Self::SkipFlag => &[("compaction_skip", "true")],
            Self::ManyFiles
            | Self::ManyDeletes
            | Self::ManySnapshots
            | Self::Streaming
            | Self::Fresh
            | Self::NobodySaid
            | Self::CorruptMetadata
            | Self::BrokenFile => &[],
        };
        let all = own.iter().chain(&[("snowpack.deletion-grace-ms", "0")]);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_smallest_fleet_and_most_of_a_large_one_is_neglected() {
        let small = Kind::of_fleet(13);
        assert_eq!(small.len(), 13);
        for kind in Kind::NEGLECTED.into_iter().chain(Kind::OTHERS) {
            assert!(small.contains(&kind), "{kind:?}");
        }
        let large = Kind::of_fleet(200);
        let neglected = large.iter().filter(|kind| Kind::NEGLECTED.contains(kind));
        assert_eq!((large.len(), neglected.count()), (200, 100));
    }
}
