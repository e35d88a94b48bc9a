//! From the candidates of one partition to groups, each with its reason.

use metadata::LiveFile;

use super::deletes::Applying;
use super::equality::Listed;
use super::history::History;
use super::packing::{first_fit, output_files};
use super::rules::Rules;
use super::skips::Skips;
use super::{Group, Input, Place};

/// A data file that may be rewritten.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) live: &'a LiveFile,
    pub(super) deletes: Applying<'a>,
    pub(super) small: bool,
    pub(super) large: bool,
    /// Eligible because of the deletes that apply to it.
    pub(super) by_deletes: bool,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(live: &'a LiveFile, deletes: Applying<'a>, rules: &Rules<'_>) -> Self {
        let bytes = live.file.file_size_in_bytes;
        let records = live.file.record_count;
        let too_many = rules
            .options
            .delete_file_threshold
            .is_some_and(|threshold| deletes.count >= threshold);
        let share = deletes.known_records as f64 / records as f64;
        let too_large_a_share = deletes.known_records > 0
            && records > 0
            && share >= rules.options.delete_ratio_threshold;
        Self {
            live,
            deletes,
            small: bytes < rules.min,
            large: bytes > rules.max,
            by_deletes: too_many || too_large_a_share,
        }
    }

    pub(super) fn is_chosen(&self) -> bool {
        self.small || self.large || self.by_deletes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.live.file.file_size_in_bytes
    }

    /// Bytes its surviving rows are expected to take. Only small files compress better together:
    /// it was on small files that this was observed.
    fn bytes_after(&self, history: &History<'_>) -> u64 {
        let records = u128::from(self.live.file.record_count);
        let alive = records - u128::from(self.deletes.known_records).min(records);
        let bytes = match (u128::from(self.bytes()) * alive).checked_div(records) {
            Some(bytes) => u64::try_from(bytes).unwrap_or(u64::MAX),
            None => self.bytes(),
        };
        if self.small {
            history.compressed(bytes, self.live)
        } else {
            bytes
        }
    }

    fn input(&self, listed: &Listed<'_>) -> Input {
        Input {
            path: self.live.file.file_path.clone(),
            bytes: self.bytes(),
            records: self.live.file.record_count,
            sequence_number: self.live.sequence_number,
            place: 0,
            equality_deletes: listed.indices(&self.deletes.equality),
            deletes: self
                .deletes
                .files
                .iter()
                .map(|d| d.file.file_path.clone())
                .collect(),
        }
    }
}

/// Packs the candidates, in their order, into groups, and keeps the groups worth rewriting.
pub(super) fn of_partition(
    candidates: &[Candidate<'_>],
    partition_path: &str,
    rules: &Rules<'_>,
    history: &History<'_>,
    skips: &mut Skips,
) -> Vec<Group> {
    let sizes: Vec<u64> = candidates.iter().map(Candidate::bytes).collect();
    let mut groups = Vec::new();
    for bin in first_fit(&sizes, rules.capacity()) {
        let members: Vec<&Candidate<'_>> = bin.iter().map(|&item| &candidates[item]).collect();
        let bytes_after = sum(members.iter().map(|member| member.bytes_after(history)));
        let files_after = output_files(bytes_after, rules.target, rules.min, rules.max);
        let listed = Listed::of(members.iter().flat_map(|member| &member.deletes.equality));
        match judge(&members, files_after, rules) {
            Ok(reason) => groups.push(Group {
                places: vec![Place {
                    spec_id: members[0].live.file.spec_id,
                    partition: members[0].live.file.partition.clone(),
                }],
                moves: false,
                equality_deletes: listed.files(),
                partition_path: partition_path.to_owned(),
                inputs: members.iter().map(|member| member.input(&listed)).collect(),
                output_files: files_after,
                output_bytes: bytes_after,
                reason,
            }),
            Err(reason) => {
                for member in members {
                    skips.add(partition_path, reason.as_str(), member.bytes());
                }
            }
        }
    }
    groups
}

/// Why the group is rewritten, or why not.
fn judge(
    members: &[&Candidate<'_>],
    files_after: usize,
    rules: &Rules<'_>,
) -> Result<String, String> {
    let count = members.len();
    let large = members.iter().filter(|member| member.large).count();
    let by_deletes = members.iter().filter(|member| member.by_deletes).count();
    let min_input_files = rules.options.min_input_files;
    if rules.options.rewrite_all {
        return Ok("rewrite-all".to_owned());
    }
    if by_deletes > 0 {
        return Ok(format!("deletes make {} eligible", files(by_deletes)));
    }
    if large > 0 && files_after > 1 {
        return Ok(format!("{} above {} bytes", files(large), rules.max));
    }
    let small = format!("{} below {} bytes", files(count), rules.min);
    let enough_files = count > 1 && count >= min_input_files;
    let enough_bytes = count > 1 && sum(members.iter().map(|m| m.bytes())) > rules.target;
    if !enough_files && !enough_bytes {
        return Err(format!(
            "{small}: fewer than min-input-files {min_input_files} and not more than one target \
             together"
        ));
    }
    if files_after >= count {
        return Err(format!("{small} would still be {}", files(files_after)));
    }
    Ok(if enough_files {
        small
    } else {
        format!("{small}, more than one target together")
    })
}

fn files(count: usize) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}
