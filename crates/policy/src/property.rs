//! The properties that steer maintenance: [`PROPERTIES`] describes each for people, the readers
//! say what a value may be. Tables and databases write the same names.

use std::ops::RangeInclusive;

use crate::window::Window;

/// What every property of Snowpack begins with.
pub(crate) const PREFIX: &str = "snowpack.";

pub(crate) const MAINTENANCE_ENABLED: &str = "snowpack.maintenance_enabled";
pub(crate) const MAINTENANCE_CADENCE_HOURS: &str = "snowpack.maintenance_cadence_hours";
pub(crate) const TARGET_FILE_SIZE_BYTES: &str = "snowpack.target_file_size_bytes";
pub(crate) const MAX_SNAPSHOT_AGE_DAYS: &str = "snowpack.max_snapshot_age_days";
pub(crate) const MIN_INPUT_FILES: &str = "snowpack.min_input_files";
pub(crate) const DELETE_FILE_THRESHOLD: &str = "snowpack.delete_file_threshold";
pub(crate) const REWRITE_DATA_DELETE_FILE_THRESHOLD: &str =
    "snowpack.rewrite_data_delete_file_threshold";
pub(crate) const REWRITE_DATA_DELETE_RATIO_THRESHOLD: &str =
    "snowpack.rewrite_data_delete_ratio_threshold";
pub(crate) const REWRITE_DATA_REWRITE_ALL: &str = "snowpack.rewrite_data_rewrite_all";
pub(crate) const PARTIAL_PROGRESS_MAX_COMMITS: &str = "snowpack.partial_progress_max_commits";
pub(crate) const PRIORITY: &str = "snowpack.priority";
pub(crate) const WINDOW: &str = "snowpack.window";
/// Without the prefix: other maintainers look at it too.
pub(crate) const COMPACTION_SKIP: &str = "compaction_skip";

/// Iceberg's own properties that apply to a table where no property of Snowpack does.
pub(crate) const ICEBERG_TARGET_FILE_SIZE: &str = "write.target-file-size-bytes";
pub(crate) const ICEBERG_SNAPSHOT_AGE: &str = "history.expire.max-snapshot-age-ms";

/// With the prefix, but read by the engine and not by the policy.
pub(crate) const READ_ELSEWHERE: &[&str] = &["snowpack.deletion-grace-ms"];

/// Bounds, ends included. Whoever sets defaults keeps to them.
pub const CADENCE_HOURS: RangeInclusive<f64> = 0.0..=87_600.0;
/// From 1 KiB, so that a `512` meant as MiB is noticed, to 1 TiB.
pub const TARGET_BYTES: RangeInclusive<u64> = 1_024..=1_099_511_627_776;
pub const SNAPSHOT_AGE_DAYS: RangeInclusive<f64> = 0.0..=36_500.0;
/// Files, delete files and commits alike.
pub const COUNT: RangeInclusive<u32> = 1..=1_000_000;
/// Above 0, at most 1.
pub const RATIO: RangeInclusive<f64> = f64::MIN_POSITIVE..=1.0;
pub const PRIORITIES: RangeInclusive<i16> = -3..=3;

/// One property for people: what the README and refusals say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PropertyDoc {
    pub name: &'static str,
    pub default: &'static str,
    pub allowed: &'static str,
    pub meaning: &'static str,
}

const fn doc(
    name: &'static str,
    default: &'static str,
    allowed: &'static str,
    meaning: &'static str,
) -> PropertyDoc {
    PropertyDoc {
        name,
        default,
        allowed,
        meaning,
    }
}

const BOOLEAN: &str = "true or false";
const COUNTS: &str = "a whole number from 1 to 1000000";

/// Every property there is, in the README's order.
pub const PROPERTIES: &[PropertyDoc] = &[
    doc(
        MAINTENANCE_ENABLED,
        "unset",
        BOOLEAN,
        "`true`: maintained; `false`: not; unset: as `SNOWPACK_ENROLMENT` says",
    ),
    doc(
        COMPACTION_SKIP,
        "false",
        BOOLEAN,
        "`true`: nothing is done to the table, whatever else is said (no prefix)",
    ),
    doc(
        MAINTENANCE_CADENCE_HOURS,
        "6",
        "a number from 0 to 87600",
        "hours between the end of one job and the next; 0: every run",
    ),
    doc(
        WINDOW,
        "always",
        "five cron fields (minute hour day-of-month month day-of-week, UTC), as in `* 22-5 * * 1-5`",
        "the minutes in which a job may be submitted",
    ),
    doc(
        PRIORITY,
        "0",
        "a whole number from -3 to 3",
        "a smaller number goes first",
    ),
    doc(
        TARGET_FILE_SIZE_BYTES,
        "`write.target-file-size-bytes`, else 536870912",
        "a whole number from 1024 to 1099511627776",
        "size a data file should have",
    ),
    doc(
        MIN_INPUT_FILES,
        "5",
        COUNTS,
        "files of a partition that are worth a rewrite together",
    ),
    doc(
        REWRITE_DATA_DELETE_FILE_THRESHOLD,
        "2",
        COUNTS,
        "a data file with so many delete files is rewritten",
    ),
    doc(
        REWRITE_DATA_DELETE_RATIO_THRESHOLD,
        "0.1",
        "a number above 0 and at most 1",
        "a data file with such a share of its rows deleted is rewritten",
    ),
    doc(
        REWRITE_DATA_REWRITE_ALL,
        "false",
        BOOLEAN,
        "`true`: a rewrite takes every file",
    ),
    doc(
        PARTIAL_PROGRESS_MAX_COMMITS,
        "10",
        COUNTS,
        "a rewrite is cut into at most so many commits; 1: all or nothing",
    ),
    doc(
        MAX_SNAPSHOT_AGE_DAYS,
        "`history.expire.max-snapshot-age-ms`, else 5",
        "a number from 0 to 36500",
        "older snapshots are expired",
    ),
    doc(
        DELETE_FILE_THRESHOLD,
        "unset",
        COUNTS,
        "position delete files that are worth a rewrite of their own (not weighed in this version: ask for `rewrite_position_delete_files`)",
    ),
];

/// What a value of the property may be.
pub(crate) fn allowed(name: &str) -> &'static str {
    match name {
        ICEBERG_TARGET_FILE_SIZE => "a whole number above 0",
        ICEBERG_SNAPSHOT_AGE => "a whole number from 0",
        _ => PROPERTIES
            .iter()
            .find(|property| property.name == name)
            .map_or("nothing", |property| property.allowed),
    }
}

/// Whether a property of a table or database means anything to the policy: the only ones it has to
/// be given.
pub fn steers(name: &str) -> bool {
    name.starts_with(PREFIX)
        || [
            COMPACTION_SKIP,
            ICEBERG_TARGET_FILE_SIZE,
            ICEBERG_SNAPSHOT_AGE,
        ]
        .contains(&name)
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits, and a fraction if need be: no exponent, no `inf`, no sign.
fn decimal(text: &str, allowed: &RangeInclusive<f64>) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let number: f64 = text.parse().ok()?;
    (digits(whole) && digits(fraction) && allowed.contains(&number)).then_some(number)
}

pub(crate) fn cadence_hours(text: &str) -> Option<f64> {
    decimal(text, &CADENCE_HOURS)
}

pub(crate) fn snapshot_age_days(text: &str) -> Option<f64> {
    decimal(text, &SNAPSHOT_AGE_DAYS)
}

pub(crate) fn ratio(text: &str) -> Option<f64> {
    decimal(text, &RATIO)
}

pub(crate) fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| digits(text))
}

pub(crate) fn target_bytes(text: &str) -> Option<u64> {
    whole(text).filter(|bytes| TARGET_BYTES.contains(bytes))
}

pub(crate) fn count(text: &str) -> Option<u32> {
    let count = u32::try_from(whole(text)?).ok()?;
    COUNT.contains(&count).then_some(count)
}

pub(crate) fn priority(text: &str) -> Option<i16> {
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let priority = text.parse().ok().filter(|_| digits(number))?;
    PRIORITIES.contains(&priority).then_some(priority)
}

pub(crate) fn window(text: &str) -> Option<Window> {
    text.parse().ok()
}

/// As Iceberg's own reader takes it: any number of bytes.
pub(crate) fn iceberg_target_bytes(text: &str) -> Option<u64> {
    whole(text).filter(|bytes| (1..=i64::MAX as u64).contains(bytes))
}

pub(crate) fn iceberg_snapshot_age_days(text: &str) -> Option<f64> {
    whole(text)
        .filter(|ms| i64::try_from(*ms).is_ok())
        .map(|ms| ms as f64 / crate::decide::DAY_MS)
}
