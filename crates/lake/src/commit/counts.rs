//! The counts that must add up before a swap (I11).

use std::collections::HashMap;

use metadata::{Content, DataFile, Entry};

use crate::Error;
use crate::rewrite::Rewritten;

/// Rows in - deletes applied = rows out, for each group and in total.
pub(super) fn check_totals(groups: &[Rewritten]) -> Result<(), Error> {
    let (mut rows_in, mut applied, mut rows_out) = (0, 0, 0);
    for group in groups {
        let planned = group.group.input_records();
        let outputs: u64 = group.outputs.iter().map(|file| file.record_count).sum();
        if group.rows_in != planned || group.rows_out != outputs {
            return Err(Error::Counts(format!(
                "group `{}`: {} rows read of {planned} planned, {} counted out, {outputs} in its files",
                group.group.partition_path, group.rows_in, group.rows_out
            )));
        }
        rows_in += group.rows_in;
        applied += group.deletes_applied;
        rows_out += group.rows_out;
    }
    if rows_in.checked_sub(applied) == Some(rows_out) {
        Ok(())
    } else {
        Err(Error::Counts(format!(
            "{rows_in} rows in, {applied} deletes applied, {rows_out} rows out"
        )))
    }
}

/// Compares the outputs with what the manifests say of the removed files: rows, and for every
/// column counted in all of them its values and (without deletes) its nulls.
pub(super) fn check_columns(groups: &[Rewritten], removed: &[Entry]) -> Result<(), Error> {
    let entries: HashMap<&str, &Entry> = removed
        .iter()
        .filter(|entry| entry.file.content == Content::Data)
        .map(|entry| (entry.file.file_path.as_str(), entry))
        .collect();
    for group in groups {
        let inputs: Option<Vec<&Entry>> = group
            .group
            .inputs
            .iter()
            .map(|input| entries.get(input.path.as_str()).copied())
            .collect();
        let Some(inputs) = inputs else {
            return Err(Error::Counts(format!(
                "group `{}`: a rewritten file was not removed",
                group.group.partition_path
            )));
        };
        check_group(group, &inputs)?;
    }
    Ok(())
}

/// Files an error names at most.
const FILES_NAMED_MAX: usize = 10;

/// Where to look for the wrong one: the first few.
fn files(inputs: &[&Entry]) -> String {
    let named = inputs.iter().take(FILES_NAMED_MAX);
    let named: Vec<&str> = named.map(|entry| entry.file.file_path.as_str()).collect();
    let others = match inputs.len().saturating_sub(FILES_NAMED_MAX) {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    format!("{}{others}", named.join(", "))
}

fn check_group(group: &Rewritten, inputs: &[&Entry]) -> Result<(), Error> {
    let name = &group.group.partition_path;
    let rows: u64 = inputs.iter().map(|entry| entry.file.record_count).sum();
    if rows != group.rows_in {
        return Err(Error::Counts(format!(
            "group `{name}`: manifests say {rows} rows, {} were read, of {}",
            group.rows_in,
            files(inputs)
        )));
    }
    let Some(first) = group.outputs.first() else {
        return Ok(());
    };
    for (column, values) in &first.value_counts {
        // Only columns with one value a row are counted alike by every writer.
        if u64::try_from(*values).ok() != Some(first.record_count) {
            continue;
        }
        let values = |entry: &&Entry| {
            let values = *entry.file.value_counts.get(column)?;
            (u64::try_from(values).ok() == Some(entry.file.record_count)).then_some(values)
        };
        let values_in: Option<i64> = inputs.iter().map(values).sum();
        let values_out: i64 = group
            .outputs
            .iter()
            .filter_map(|f| f.value_counts.get(column))
            .sum();
        if values_in.is_some_and(|values| values - group.deletes_applied as i64 != values_out) {
            return Err(Error::Counts(format!(
                "group `{name}`, column {column}: {values_in:?} values in, {} deletes applied, {values_out} out, of {}",
                group.deletes_applied,
                files(inputs)
            )));
        }
        // As wide as no lie overflows.
        let nulls = |file: &DataFile| file.null_value_counts.get(column).copied().map(i128::from);
        let nulls_in: Option<i128> = inputs.iter().map(|entry| nulls(&entry.file)).sum();
        let nulls_out: Option<i128> = group.outputs.iter().map(nulls).sum();
        if let (Some(nulls_in), Some(nulls_out), 0) = (nulls_in, nulls_out, group.deletes_applied)
            && nulls_in != nulls_out
        {
            return Err(Error::Counts(format!(
                "group `{name}`, column {column}: {nulls_in} nulls in, {nulls_out} out, of {}",
                files(inputs)
            )));
        }
    }
    Ok(())
}
