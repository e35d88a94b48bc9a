//! Moving files to another spec: whether it can be done, and whether it is worth it once the
//! partitions of the rows are known.

use metadata::{TableMetadata, Transform};

use super::packing::output_files;
use super::{Group, Plan};

/// Why no row can be placed under the table's spec `spec_id`.
pub(super) fn immovable(table: &TableMetadata, spec_id: i32) -> Option<String> {
    let spec = table.spec(spec_id)?;
    let mut fields = spec.fields.iter();
    fields.find_map(|field| match &field.transform {
        Transform::Void => None,
        Transform::Unknown(name) => Some(format!(
            "its rows cannot be placed under spec {spec_id}: the transform {name} of {} is not known in this version",
            field.name
        )),
        _ if table.current_schema().field(field.source_id).is_none() => Some(format!(
            "its rows cannot be placed under spec {spec_id}: the column {} is made of was dropped",
            field.name
        )),
        _ => None,
    })
}

/// How many files each output partition of a group that moves becomes, or why the group is left
/// as it is. `bytes` are what the live rows of each partition take in the inputs.
///
/// A spec that is finer than what was written could turn a few files into thousands: files below
/// the minimum size must not become more than there were.
pub fn spread(plan: &Plan, group: &Group, bytes: &[u64]) -> Result<Vec<usize>, String> {
    let (target, min) = (plan.target_file_size_bytes, plan.min_file_size_bytes);
    let before: u128 = bytes.iter().map(|bytes| u128::from(*bytes)).sum();
    let expected = |bytes: u64| {
        let scaled = u128::from(bytes) * u128::from(group.output_bytes);
        let scaled = scaled.checked_div(before).unwrap_or_default();
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    let mut files = Vec::with_capacity(bytes.len());
    let mut small_after = 0;
    for bytes in bytes {
        let bytes = expected(*bytes);
        let count = output_files(bytes, target, min, plan.max_file_size_bytes);
        if bytes / (count as u64) < min {
            small_after += count;
        }
        files.push(count);
    }
    let small_before = group.inputs.iter().filter(|input| input.bytes < min);
    let small_before = small_before.count();
    if small_after > small_before {
        return Err(format!(
            "{}: {} files, {small_before} of them below {min} bytes, would become {} in {} partitions, \
             {small_after} of them below; left under the old spec",
            group.partition_path,
            group.inputs.len(),
            files.iter().sum::<usize>(),
            bytes.len(),
        ));
    }
    Ok(files)
}
