//! The options of `rewrite_data_files`: [`OPTIONS`] describes them, [`Options::parse`] checks them.

use std::collections::BTreeMap;

use model::Action;

use super::filter::Filter;
use super::sorting::SortOptions;
use crate::BadOption;
use crate::option::{Asked, OptionDoc, doc, unknown};

/// Every option there is. [`Options::parse`] knows these keys and no others.
pub const OPTIONS: &[OptionDoc] = &[
    doc(
        "target-file-size-bytes",
        "table property `write.target-file-size-bytes`, else 536870912",
        "size an output file should have; above min, below max",
    ),
    doc(
        "min-file-size-bytes",
        "0.75 x target",
        "a file is a candidate when smaller",
    ),
    doc(
        "max-file-size-bytes",
        "1.80 x target",
        "a file is a candidate when larger",
    ),
    doc(
        "min-input-files",
        "5",
        "a group of at least this many files (and more than one) is rewritten; a smaller one only \
         when it holds more than one target, a file above max, or a file made eligible by its \
         deletes",
    ),
    doc("rewrite-all", "false", "take every file and every group"),
    doc(
        "max-file-group-size-bytes",
        "107374182400",
        "a group holds at most this many input bytes",
    ),
    doc(
        "max-file-group-input-files",
        "unlimited",
        "a group holds at most this many input files",
    ),
    doc(
        "delete-file-threshold",
        "off",
        "a file is a candidate when at least this many delete files apply to it",
    ),
    doc(
        "delete-ratio-threshold",
        "0.3",
        "a file is a candidate when deletes scoped to it alone remove at least this share of its \
         rows; above 0, at most 1",
    ),
    doc(
        "partial-progress.enabled",
        "false",
        "commit groups in several snapshots",
    ),
    doc(
        "partial-progress.max-commits",
        "10",
        "with partial progress: at most this many commits, ceil(groups / max-commits) groups each",
    ),
    doc(
        "partial-progress.max-failed-commits",
        "10",
        "with partial progress: the action fails when more commits fail, or all of them",
    ),
    doc(
        "max-concurrent-file-group-rewrites",
        "cores",
        "groups rewritten at once, within the memory budget",
    ),
    doc(
        "rewrite-job-order",
        "none",
        "order of groups: none, bytes-asc, bytes-desc, files-asc or files-desc",
    ),
    doc(
        "use-starting-sequence-number",
        "true",
        "outputs carry the sequence number planned on, so that newer deletes keep applying",
    ),
    doc(
        "remove-dangling-deletes",
        "false",
        "drop every delete file that applies to nothing any more, not only those of one rewritten file",
    ),
    doc(
        "output-spec-id",
        "the table's current spec",
        "must exist; chosen files of other specs are moved to it, unless that made more small files than there were",
    ),
    doc(
        "strategy",
        "binpack",
        "binpack, sort or zorder: what the rows of a group are ordered by",
    ),
    doc(
        "sort-order",
        "the table's sort order",
        "with sort: keys as `region, bucket(16, id) desc nulls last`; columns or bucket, truncate, year, \
         month, day, hour of them; asc has nulls first, desc last, unless said",
    ),
    doc(
        "zorder-columns",
        "none",
        "with zorder, which needs them: columns whose bits are interleaved; identity partition columns \
         are left out",
    ),
    doc(
        "var-length-contribution",
        "8",
        "with zorder: bytes taken of a text or of bytes, 1 to 1024",
    ),
    doc(
        "max-output-size",
        "2147483647",
        "with zorder: bytes compared of a row's interleaved bits",
    ),
    doc(
        "compression-factor",
        "as earlier rewrites showed, else 1.0",
        "with sort or zorder: expected bytes afterwards for a byte before, from which the number of \
         files follows",
    ),
    doc(
        "where",
        "none",
        "only files that may hold matching rows are rewritten, whole: =, !=, <, <=, >, >=, in (..), \
         is null, like 'prefix%', and, or, not",
    ),
];

const MIN_INPUT_FILES_DEFAULT: usize = 5;
/// 100 GiB.
const GROUP_BYTES_DEFAULT: u64 = 107_374_182_400;
const DELETE_RATIO_DEFAULT: f64 = 0.3;
const COMMITS_DEFAULT: usize = 10;
const FAILED_COMMITS_DEFAULT: usize = 10;
/// Sizes are stored as signed 64-bit numbers wherever Iceberg stores them.
const BYTES_MAX: u64 = i64::MAX as u64;

/// Commit in several snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialProgress {
    pub enabled: bool,
    pub commits_max: usize,
    pub failed_commits_max: usize,
}

/// The order groups are rewritten in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOrder {
    /// By spec and partition.
    None,
    BytesAsc,
    BytesDesc,
    FilesAsc,
    FilesDesc,
}

impl JobOrder {
    const ALL: [(Self, &'static str); 5] = [
        (Self::None, "none"),
        (Self::BytesAsc, "bytes-asc"),
        (Self::BytesDesc, "bytes-desc"),
        (Self::FilesAsc, "files-asc"),
        (Self::FilesDesc, "files-desc"),
    ];
}

/// The options as asked; `None` means the table's property, then the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub target_file_size_bytes: Option<u64>,
    pub min_file_size_bytes: Option<u64>,
    pub max_file_size_bytes: Option<u64>,
    pub min_input_files: usize,
    pub rewrite_all: bool,
    pub group_bytes_max: u64,
    /// `None` = unlimited.
    pub group_files_max: Option<usize>,
    /// `None` = off.
    pub delete_file_threshold: Option<usize>,
    pub delete_ratio_threshold: f64,
    pub partial_progress: PartialProgress,
    /// `None` = the cores of the machine that executes.
    pub concurrent_groups_max: Option<usize>,
    pub job_order: JobOrder,
    pub use_starting_sequence_number: bool,
    pub remove_dangling_deletes: bool,
    /// `None` = the table's current spec.
    pub output_spec_id: Option<i32>,
    pub filter: Option<Filter>,
    pub sorting: Box<SortOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target_file_size_bytes: None,
            min_file_size_bytes: None,
            max_file_size_bytes: None,
            min_input_files: MIN_INPUT_FILES_DEFAULT,
            rewrite_all: false,
            group_bytes_max: GROUP_BYTES_DEFAULT,
            group_files_max: None,
            delete_file_threshold: None,
            delete_ratio_threshold: DELETE_RATIO_DEFAULT,
            partial_progress: PartialProgress {
                enabled: false,
                commits_max: COMMITS_DEFAULT,
                failed_commits_max: FAILED_COMMITS_DEFAULT,
            },
            concurrent_groups_max: None,
            job_order: JobOrder::None,
            use_starting_sequence_number: true,
            remove_dangling_deletes: false,
            output_spec_id: None,
            filter: None,
            sorting: Box::default(),
        }
    }
}

impl Options {
    /// Checks each value, then what the values mean together as far as no table is needed for it.
    /// The rest is checked by [`super::plan`].
    pub fn parse(asked: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let mut options = Self::default();
        for (key, value) in asked {
            options.set(key, value)?;
        }
        if let Some(target) = options.target_file_size_bytes {
            options.sizes(target, "")?;
        }
        options.sorting.check()?;
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), BadOption> {
        let option = asked(key, value);
        match key {
            "target-file-size-bytes" => {
                self.target_file_size_bytes = Some(option.number(1, BYTES_MAX)?);
            }
            "min-file-size-bytes" => self.min_file_size_bytes = Some(option.number(0, BYTES_MAX)?),
            "max-file-size-bytes" => self.max_file_size_bytes = Some(option.number(1, BYTES_MAX)?),
            "min-input-files" => self.min_input_files = option.count(1)?,
            "rewrite-all" => self.rewrite_all = option.boolean()?,
            "max-file-group-size-bytes" => self.group_bytes_max = option.number(1, BYTES_MAX)?,
            "max-file-group-input-files" => self.group_files_max = Some(option.count(1)?),
            "delete-file-threshold" => self.delete_file_threshold = Some(option.count(0)?),
            "delete-ratio-threshold" => self.delete_ratio_threshold = option.ratio()?,
            "partial-progress.enabled" => self.partial_progress.enabled = option.boolean()?,
            "partial-progress.max-commits" => {
                self.partial_progress.commits_max = option.count(1)?;
            }
            "partial-progress.max-failed-commits" => {
                self.partial_progress.failed_commits_max = option.count(0)?;
            }
            "max-concurrent-file-group-rewrites" => {
                self.concurrent_groups_max = Some(option.count(1)?);
            }
            "rewrite-job-order" => self.job_order = option.one_of(&JobOrder::ALL)?,
            "use-starting-sequence-number" => {
                self.use_starting_sequence_number = option.boolean()?;
            }
            "remove-dangling-deletes" => self.remove_dangling_deletes = option.boolean()?,
            "output-spec-id" => self.output_spec_id = Some(option.number(0, i32::MAX)?),
            "where" => {
                self.filter = Some(Filter::parse(value).map_err(|error| option.refuse(error))?);
            }
            _ if self.sorting.set(option)? => {}
            _ => return Err(unknown(Action::RewriteDataFiles, OPTIONS, key)),
        }
        Ok(())
    }

    /// The sizes (min, max) around a target. `origin` says where a target that was not asked for
    /// comes from, and is empty for one that was.
    pub(super) fn sizes(&self, target: u64, origin: &str) -> Result<(u64, u64), BadOption> {
        let min = self
            .min_file_size_bytes
            .unwrap_or(metadata::small_below(target));
        let max = self.max_file_size_bytes.unwrap_or(max_of(target));
        let text = |bytes: u64| bytes.to_string();
        if min >= target {
            return Err(match self.min_file_size_bytes {
                Some(_) => asked("min-file-size-bytes", &text(min)).refuse(format!(
                    "must be below target-file-size-bytes {target}{origin}"
                )),
                None => too_small(target, min, max),
            });
        }
        if max <= target {
            return Err(match self.max_file_size_bytes {
                Some(_) => asked("max-file-size-bytes", &text(max)).refuse(format!(
                    "must be above target-file-size-bytes {target}{origin}"
                )),
                None => too_small(target, min, max),
            });
        }
        Ok((min, max))
    }
}

fn too_small(target: u64, min: u64, max: u64) -> BadOption {
    asked("target-file-size-bytes", &target.to_string()).refuse(format!(
        "must lie between min-file-size-bytes {min} and max-file-size-bytes {max}"
    ))
}

/// 1.80 x target, rounded down.
pub(crate) fn max_of(target: u64) -> u64 {
    u64::try_from(u128::from(target) * 9 / 5).unwrap_or(u64::MAX)
}

/// An option of this action as the user wrote it.
pub(super) fn asked<'a>(key: &'a str, value: &'a str) -> Asked<'a> {
    let action = Action::RewriteDataFiles;
    Asked { action, key, value }
}

impl Asked<'_> {
    fn count(self, min: usize) -> Result<usize, BadOption> {
        self.number(min, i32::MAX as usize)
    }

    fn ratio(self) -> Result<f64, BadOption> {
        match self.value.parse::<f64>() {
            Ok(ratio) if ratio > 0.0 && ratio <= 1.0 => Ok(ratio),
            _ => Err(self.refuse("must be a number above 0 and at most 1")),
        }
    }
}
