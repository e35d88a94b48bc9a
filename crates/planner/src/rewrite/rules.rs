//! The rules of one plan: options, then table properties, then defaults.

use std::fmt;

use metadata::{TARGET_FILE_SIZE_DEFAULT, TARGET_FILE_SIZE_KEY, TableMetadata};

use super::options::{Options, asked};
use super::packing::Capacity;
use super::{Refused, Sorting, filter};

const ROW_GROUP_PROPERTY: &str = "write.parquet.row-group-size-bytes";
/// Default of `write.parquet.row-group-size-bytes`: 128 MiB.
const ROW_GROUP_DEFAULT: u64 = 134_217_728;

/// Everything that decides which files are chosen.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) options: &'a Options,
    pub(super) target: u64,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) output_spec_id: i32,
    pub(super) filter: Option<filter::Bound>,
    pub(super) row_group_bytes: u64,
    pub(super) sorting: Option<Sorting>,
}

impl<'a> Rules<'a> {
    pub(super) fn resolve(table: &TableMetadata, options: &'a Options) -> Result<Self, Refused> {
        let (target, origin) = match options.target_file_size_bytes {
            Some(target) => (target, String::new()),
            None => match bytes_property(table, TARGET_FILE_SIZE_KEY)? {
                Some(target) => (target, format!(" (the table's {TARGET_FILE_SIZE_KEY})")),
                None => (TARGET_FILE_SIZE_DEFAULT, " (the default)".to_owned()),
            },
        };
        let (min, max) = options.sizes(target, &origin)?;
        let filter = match &options.filter {
            Some(filter) => Some(
                filter
                    .bind(table.current_schema())
                    .map_err(|error| asked("where", filter.text()).refuse(error))?,
            ),
            None => None,
        };
        let row_group_bytes =
            bytes_property(table, ROW_GROUP_PROPERTY)?.unwrap_or(ROW_GROUP_DEFAULT);
        let output_spec_id = output_spec_id(table, options)?;
        Ok(Self {
            options,
            target,
            min,
            max,
            output_spec_id,
            filter,
            row_group_bytes,
            sorting: options.sorting.bind(table, output_spec_id)?,
        })
    }

    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            bytes: self.options.group_bytes_max,
            files: self.options.group_files_max.unwrap_or(usize::MAX),
        }
    }
}

/// One line that is equal exactly when the same files would be chosen ([`super::RULES_KEY`]).
impl fmt::Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.options;
        let off = |limit: Option<usize>| limit.map_or("off".to_owned(), |limit| limit.to_string());
        write!(
            f,
            "v1 target={} min={} max={} spec={} min-input-files={} all={} group-bytes={} \
             group-files={} delete-files={} delete-ratio={}{} where={}",
            self.target,
            self.min,
            self.max,
            self.output_spec_id,
            options.min_input_files,
            options.rewrite_all,
            options.group_bytes_max,
            off(options.group_files_max),
            off(options.delete_file_threshold),
            options.delete_ratio_threshold,
            self.sorting
                .as_ref()
                .map_or(String::new(), |sorting| format!(" order=({sorting})")),
            options.filter.as_ref().map_or("none", filter::Filter::text),
        )
    }
}

fn bytes_property(table: &TableMetadata, key: &'static str) -> Result<Option<u64>, Refused> {
    let Some(value) = table.property(key) else {
        return Ok(None);
    };
    match value.parse::<i64>() {
        Ok(bytes) if bytes > 0 => Ok(Some(bytes.unsigned_abs())),
        _ => Err(Refused::Property {
            key,
            value: value.to_owned(),
            why: format!("must be a whole number from 1 to {}", i64::MAX),
        }),
    }
}

fn output_spec_id(table: &TableMetadata, options: &Options) -> Result<i32, Refused> {
    match options.output_spec_id {
        None => Ok(table.default_spec().spec_id),
        Some(spec_id) if table.spec(spec_id).is_some() => Ok(spec_id),
        Some(spec_id) => {
            let spec_id = spec_id.to_string();
            Err(asked("output-spec-id", &spec_id).no_such_spec(table).into())
        }
    }
}
