//! From the candidates of one partition, or of other specs, to groups, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use metadata::LiveFile;

use super::deletes::{Applying, Partition, partition};
use super::equality::Listed;
use super::history::History;
use super::packing::{first_fit, output_files};
use super::rules::Rules;
use super::skips::Skips;
use super::{Group, Input, Place, PositionDelete};

/// Rows of one group that moves, at most: where each goes is held in memory, in four bytes.
pub(super) const MOVED_ROWS_MAX: u64 = 1 << 25;

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

    /// By what files are put in the order their rows are written in.
    pub(super) fn order(&self) -> (i64, &'a str) {
        (self.live.sequence_number, self.live.file.file_path.as_str())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.live.file.file_size_in_bytes
    }

    /// Bytes its surviving rows are expected to take. Only small files compress better together:
    /// it was on small files that this was observed.
    fn bytes_after(&self, rules: &Rules<'_>, history: &History<'_>) -> u64 {
        let records = u128::from(self.live.file.record_count);
        let alive = records - u128::from(self.deletes.known_records).min(records);
        let bytes = match (u128::from(self.bytes()) * alive).checked_div(records) {
            Some(bytes) => u64::try_from(bytes).unwrap_or(u64::MAX),
            None => self.bytes(),
        };
        if let Some(factor) = rules.options.sorting.compression_factor {
            (bytes as f64 * factor) as u64
        } else if self.small {
            history.compressed(bytes, self.live)
        } else {
            bytes
        }
    }

    fn input(&self, listed: &Listed<'_>, place: usize) -> Input {
        Input {
            path: self.live.file.file_path.clone(),
            bytes: self.bytes(),
            records: self.live.file.record_count,
            sequence_number: self.live.sequence_number,
            place,
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
    let bins = first_fit(&sizes, rules.capacity());
    judged(candidates, bins, rules, history, |members, judged| {
        let path = partition_path.to_owned();
        keep_or_skip(members, path, judged, skips)
    })
}

/// The same of files of other specs, whatever their partitions: each row goes to the partition it
/// has under the output spec.
pub(super) fn of_other_specs(
    candidates: &[Candidate<'_>],
    rules: &Rules<'_>,
    history: &History<'_>,
    skips: &mut Skips,
) -> Vec<Group> {
    let capacity = rules.capacity();
    // Rows are bounded too, by what one of them takes of the bin.
    let bytes_of_rows = |records: u64| {
        let share = u128::from(records) * u128::from(capacity.bytes) / u128::from(MOVED_ROWS_MAX);
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    let sizes: Vec<u64> = candidates
        .iter()
        .map(|candidate| {
            candidate
                .bytes()
                .max(bytes_of_rows(candidate.live.file.record_count))
        })
        .collect();
    let bins = first_fit(&sizes, capacity);
    judged(candidates, bins, rules, history, |members, judged| {
        let from: BTreeSet<i32> = members
            .iter()
            .map(|member| member.live.file.spec_id)
            .collect();
        let from: Vec<String> = from.iter().map(i32::to_string).collect();
        let path = format!("spec {} -> {}", from.join(", "), rules.output_spec_id);
        let mut group = keep_or_skip(members, path, judged, skips)?;
        group.moves = true;
        Some(group)
    })
}

/// Why a bin is worth rewriting or not, and what it is expected to become.
struct Judged {
    verdict: Result<String, String>,
    files_after: usize,
    bytes_after: u64,
}

fn judged<'a>(
    candidates: &'a [Candidate<'a>],
    bins: Vec<Vec<usize>>,
    rules: &Rules<'_>,
    history: &History<'_>,
    mut group: impl FnMut(&[&'a Candidate<'a>], Judged) -> Option<Group>,
) -> Vec<Group> {
    let judge = |bin: Vec<usize>| {
        let members: Vec<&Candidate<'_>> = bin.iter().map(|&item| &candidates[item]).collect();
        let bytes_after = sum(members
            .iter()
            .map(|member| member.bytes_after(rules, history)));
        let files_after = output_files(bytes_after, rules.target, rules.min, rules.max);
        let judged = Judged {
            verdict: judge(&members, files_after, rules),
            files_after,
            bytes_after,
        };
        group(&members, judged)
    };
    bins.into_iter().filter_map(judge).collect()
}

fn keep_or_skip(
    members: &[&Candidate<'_>],
    partition_path: String,
    judged: Judged,
    skips: &mut Skips,
) -> Option<Group> {
    let reason = match judged.verdict {
        Ok(reason) => reason,
        Err(reason) => {
            for member in members {
                skips.add(&partition_path, reason.as_str(), member.bytes());
            }
            return None;
        }
    };
    let mut places = Places::default();
    let listed = Listed::of(members.iter().flat_map(|member| &member.deletes.equality));
    let inputs = members
        .iter()
        .map(|member| member.input(&listed, places.index(member.live)))
        .collect();
    Some(Group {
        places: places.list,
        moves: false,
        position_deletes: position_deletes(members),
        equality_deletes: listed.files(),
        partition_path,
        inputs,
        output_files: judged.files_after,
        output_bytes: judged.bytes_after,
        reason,
    })
}

/// What may delete rows of the members, each file once.
fn position_deletes(members: &[&Candidate<'_>]) -> Vec<PositionDelete> {
    let files: BTreeMap<&str, &LiveFile> = members
        .iter()
        .flat_map(|member| &member.deletes.files)
        .map(|live| (live.file.file_path.as_str(), *live))
        .collect();
    let describe = |(path, live): (&str, &LiveFile)| PositionDelete {
        path: path.to_owned(),
        bytes: live.file.file_size_in_bytes,
        records: live.file.record_count,
    };
    files.into_iter().map(describe).collect()
}

/// Where files lie, each place once, in the order met.
#[derive(Default)]
struct Places<'a> {
    list: Vec<Place>,
    indices: BTreeMap<Partition<'a>, usize>,
}

impl<'a> Places<'a> {
    fn index(&mut self, file: &'a LiveFile) -> usize {
        let at = partition(file);
        *self.indices.entry(at).or_insert_with(|| {
            self.list.push(Place {
                spec_id: at.0,
                partition: at.1.to_vec(),
            });
            self.list.len() - 1
        })
    }
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
    if files_after >= count && rules.sorting.is_none() {
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
