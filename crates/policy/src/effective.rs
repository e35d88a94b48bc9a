//! What applies to a table: its own properties, in our words or in Iceberg's, over its database's
//! over the defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::property::{self, PREFIX};
use crate::window::Window;

/// Properties as the catalog gives them.
pub type Properties = BTreeMap<String, String>;

/// Where a value comes from. The first that says something readable wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Table,
    /// Iceberg's own property of the table, where it has one that means the same. The engine reads
    /// it by itself.
    Iceberg,
    Database,
    Default,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Database => "database",
            Self::Iceberg => "iceberg",
            Self::Default => "default",
        }
    }
}

/// A value with its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sourced<T> {
    pub value: T,
    pub source: Source,
}

/// Which tables are maintained when nobody said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enrolment {
    /// Only those that say `maintenance_enabled=true`.
    OptIn,
    /// All but those that say `maintenance_enabled=false`.
    OptOut,
}

impl Enrolment {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptIn => "opt-in",
            Self::OptOut => "opt-out",
        }
    }
}

/// What applies where no property says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Defaults {
    pub enrolment: Enrolment,
    pub maintenance_cadence_hours: f64,
    pub target_file_size_bytes: u64,
    pub max_snapshot_age_days: f64,
    pub min_input_files: u32,
    pub rewrite_data_delete_file_threshold: u32,
    pub rewrite_data_delete_ratio_threshold: f64,
    pub partial_progress_max_commits: u32,
}

impl Default for Defaults {
    /// The defaults of the policy's contract.
    fn default() -> Self {
        Self {
            enrolment: Enrolment::OptIn,
            maintenance_cadence_hours: 6.0,
            target_file_size_bytes: 536_870_912,
            max_snapshot_age_days: 5.0,
            min_input_files: 5,
            rewrite_data_delete_file_threshold: 2,
            rewrite_data_delete_ratio_threshold: 0.10,
            partial_progress_max_commits: 10,
        }
    }
}

/// A property that could not be read. The next source's value applies; nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    pub property: String,
    /// As written, its first `VALUE_CHARS_MAX` characters.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
    pub source: Source,
}

/// A property with Snowpack's prefix that nothing reads: most likely a typing error. The first
/// `UNKNOWN_MAX` of a source are reported, of each name its first `NAME_CHARS_MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    pub property: String,
    /// The property it looks most like.
    pub nearest: String,
    pub source: Source,
}

/// What applies to one table, each value with its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    pub enrolment: Enrolment,
    /// Unset is for the enrolment mode to decide.
    pub maintenance_enabled: Sourced<Option<bool>>,
    /// `compaction_skip`: always wins.
    pub compaction_skip: Sourced<bool>,
    pub maintenance_cadence_hours: Sourced<f64>,
    pub target_file_size_bytes: Sourced<u64>,
    pub max_snapshot_age_days: Sourced<f64>,
    pub min_input_files: Sourced<u32>,
    /// Unset: only position-delete rewrites look at it.
    pub delete_file_threshold: Sourced<Option<u32>>,
    pub rewrite_data_delete_file_threshold: Sourced<u32>,
    pub rewrite_data_delete_ratio_threshold: Sourced<f64>,
    pub rewrite_data_rewrite_all: Sourced<bool>,
    pub partial_progress_max_commits: Sourced<u32>,
    /// -3 to 3; a smaller number runs first.
    pub priority: Sourced<i16>,
    /// When work may be submitted; unset is always.
    pub window: Sourced<Option<Window>>,
    pub unreadable: Vec<Unreadable>,
    pub unknown: Vec<Unknown>,
}

impl Effective {
    /// The report on a property that was written and could not be read.
    pub(crate) fn unreadable(&self, property: &str) -> Option<&Unreadable> {
        self.unreadable
            .iter()
            .find(|found| found.property == property)
    }
}

/// Of an unreadable value, so many characters are shown.
const VALUE_CHARS_MAX: usize = 200;
/// Of an unknown property's name, so many.
const NAME_CHARS_MAX: usize = 100;
/// Unknown properties of one source that are reported.
const UNKNOWN_MAX: usize = 20;

/// Works out what applies to a table.
pub fn effective(defaults: &Defaults, database: &Properties, table: &Properties) -> Effective {
    let mut read = Reading {
        database,
        table,
        unreadable: Vec::new(),
    };
    let target = read.own_first(
        (property::TARGET_FILE_SIZE_BYTES, property::target_bytes),
        (
            property::ICEBERG_TARGET_FILE_SIZE,
            property::iceberg_target_bytes,
        ),
    );
    let age = read.own_first(
        (property::MAX_SNAPSHOT_AGE_DAYS, property::snapshot_age_days),
        (
            property::ICEBERG_SNAPSHOT_AGE,
            property::iceberg_snapshot_age_days,
        ),
    );
    Effective {
        enrolment: defaults.enrolment,
        maintenance_enabled: read.option(property::MAINTENANCE_ENABLED, property::boolean),
        compaction_skip: read.value(property::COMPACTION_SKIP, property::boolean, false),
        maintenance_cadence_hours: read.value(
            property::MAINTENANCE_CADENCE_HOURS,
            property::cadence_hours,
            defaults.maintenance_cadence_hours,
        ),
        target_file_size_bytes: or_default(target, defaults.target_file_size_bytes),
        max_snapshot_age_days: or_default(age, defaults.max_snapshot_age_days),
        min_input_files: read.value(
            property::MIN_INPUT_FILES,
            property::count,
            defaults.min_input_files,
        ),
        delete_file_threshold: read.option(property::DELETE_FILE_THRESHOLD, property::count),
        rewrite_data_delete_file_threshold: read.value(
            property::REWRITE_DATA_DELETE_FILE_THRESHOLD,
            property::count,
            defaults.rewrite_data_delete_file_threshold,
        ),
        rewrite_data_delete_ratio_threshold: read.value(
            property::REWRITE_DATA_DELETE_RATIO_THRESHOLD,
            property::ratio,
            defaults.rewrite_data_delete_ratio_threshold,
        ),
        rewrite_data_rewrite_all: read.value(
            property::REWRITE_DATA_REWRITE_ALL,
            property::boolean,
            false,
        ),
        partial_progress_max_commits: read.value(
            property::PARTIAL_PROGRESS_MAX_COMMITS,
            property::count,
            defaults.partial_progress_max_commits,
        ),
        priority: read.value(property::PRIORITY, property::priority, 0),
        window: read.option(property::WINDOW, property::window),
        unreadable: read.unreadable,
        unknown: unknown(database, table),
    }
}

/// A property's name and how it is read.
type Property<T> = (&'static str, fn(&str) -> Option<T>);

/// Looks a property up in one source after the other and keeps what could not be read.
struct Reading<'a> {
    database: &'a Properties,
    table: &'a Properties,
    unreadable: Vec<Unreadable>,
}

impl Reading<'_> {
    fn first<T>(&mut self, name: &str, reader: fn(&str) -> Option<T>) -> Option<Sourced<T>> {
        self.at(Source::Table, name, reader)
            .or_else(|| self.at(Source::Database, name, reader))
    }

    /// What the table itself says, in our words or in Iceberg's, before what its database says: a
    /// platform's setting must not expire what a table's owner asked to keep.
    fn own_first<T>(&mut self, ours: Property<T>, iceberg: Property<T>) -> Option<Sourced<T>> {
        self.at(Source::Table, ours.0, ours.1)
            .or_else(|| self.at(Source::Iceberg, iceberg.0, iceberg.1))
            .or_else(|| self.at(Source::Database, ours.0, ours.1))
    }

    fn value<T>(&mut self, name: &str, reader: fn(&str) -> Option<T>, default: T) -> Sourced<T> {
        or_default(self.first(name, reader), default)
    }

    fn option<T>(&mut self, name: &str, reader: fn(&str) -> Option<T>) -> Sourced<Option<T>> {
        match self.first(name, reader) {
            Some(Sourced { value, source }) => Sourced {
                value: Some(value),
                source,
            },
            None => or_default(None, None),
        }
    }

    fn at<T>(
        &mut self,
        source: Source,
        name: &str,
        reader: fn(&str) -> Option<T>,
    ) -> Option<Sourced<T>> {
        let properties = match source {
            Source::Table | Source::Iceberg => self.table,
            Source::Database => self.database,
            Source::Default => return None,
        };
        let text = properties.get(name)?;
        if let Some(value) = reader(text.trim()) {
            return Some(Sourced { value, source });
        }
        self.unreadable.push(Unreadable {
            property: name.to_owned(),
            value: text.chars().take(VALUE_CHARS_MAX).collect(),
            allowed: property::allowed(name).to_owned(),
            source,
        });
        None
    }
}

fn or_default<T>(found: Option<Sourced<T>>, default: T) -> Sourced<T> {
    found.unwrap_or(Sourced {
        value: default,
        source: Source::Default,
    })
}

/// Names with the prefix that nothing reads, each with the one it looks most like.
fn unknown(database: &Properties, table: &Properties) -> Vec<Unknown> {
    let known = || {
        property::PROPERTIES
            .iter()
            .map(|property| property.name)
            .chain(property::READ_ELSEWHERE.iter().copied())
    };
    let of = |source, properties: &Properties| {
        let prefixed = properties.keys().filter(|name| name.starts_with(PREFIX));
        let strange = prefixed.filter(|name| known().all(|known| known != *name));
        let report = |name: &String| {
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            let likeness = known().map(|known| (strsim::jaro_winkler(known, &name), known));
            let nearest = likeness.max_by(|(one, _), (other, _)| one.total_cmp(other));
            Unknown {
                nearest: nearest.map_or_else(String::new, |(_, known)| known.to_owned()),
                property: name,
                source,
            }
        };
        strange.take(UNKNOWN_MAX).map(report).collect::<Vec<_>>()
    };
    [of(Source::Table, table), of(Source::Database, database)].concat()
}

#[cfg(test)]
mod tests;
