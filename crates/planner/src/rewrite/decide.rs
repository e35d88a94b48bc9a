//! The plan itself: sieve the live files, group what is left, say why for everything else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use metadata::{LiveFile, LiveFiles, TableMetadata};

use super::deletes::{self, Deletes, Partition};
use super::groups::{self, Candidate};
use super::history::History;
use super::rules::Rules;
use super::skips::Skips;
use super::{Group, JobOrder, Options, Plan, Refused, moves};

/// Decoded bytes per compressed byte, with what is being encoded beside them.
const DECODED_PER_COMPRESSED: u64 = 4;
/// The same of rows that are sorted, with their keys; half of it is for what is read and written.
const SORTED_PER_COMPRESSED: u64 = 8;
/// Input bytes of a group beyond which it is rather spilled than held.
const SORTED_BYTES_MAX: u64 = 128 << 20;
/// Row groups in memory at once: the one being encoded and the next, being fetched.
const ROW_GROUPS_HELD: u64 = 2;
/// A position in a selection, with its share of the path's dictionary.
const BYTES_PER_DELETE: u64 = 16;
/// A key to look up, with its share of the table it lies in.
const BYTES_PER_KEY: u64 = 96;
/// Where a row goes.
const BYTES_PER_MOVED_ROW: u64 = 4;
/// Footer and page index of an open input.
const BYTES_PER_INPUT: u64 = 65_536;
/// Buffers whatever the size: uploads, codecs, the runtime.
const BYTES_ALWAYS: u64 = 16_777_216;

/// Decides what to rewrite in the current snapshot, of which `files` are the live files. Refuses
/// what cannot be rewritten rightly in this version; leaves the rest alone with its reason.
pub fn plan(
    metadata: &TableMetadata,
    table: &str,
    files: &LiveFiles,
    options: &Options,
) -> Result<Plan, Refused> {
    if !matches!(metadata.format_version(), 1 | 2) {
        return Err(Refused::FormatVersion(metadata.format_version()));
    }
    let rules = Rules::resolve(metadata, options)?;
    deletes::refuse_unsupported(files)?;
    let description = rules.to_string();
    let history = History::of(metadata, &description);
    let sieve = Sieve {
        metadata,
        rules: &rules,
        history: &history,
        deletes: Deletes::index(metadata, files),
        listed_twice: listed_twice(&files.data),
        immovable: moves::immovable(metadata, rules.output_spec_id),
    };
    let mut skips = Skips::default();
    let mut chosen = sieve.choose(&files.data, &mut skips);
    order(&mut chosen, options.job_order);
    let progress = options.partial_progress;
    Ok(Plan {
        table: table.to_owned(),
        table_uuid: metadata.uuid().to_owned(),
        snapshot_id: metadata
            .current_snapshot()
            .map(|snapshot| snapshot.snapshot_id),
        sequence_number: metadata
            .current_snapshot()
            .map_or(0, |snapshot| snapshot.sequence_number),
        schema_id: metadata.current_schema().schema_id,
        output_spec_id: rules.output_spec_id,
        target_file_size_bytes: rules.target,
        min_file_size_bytes: rules.min,
        max_file_size_bytes: rules.max,
        groups_per_commit: progress
            .enabled
            .then(|| chosen.len().div_ceil(progress.commits_max).max(1)),
        failed_commits_max: progress.failed_commits_max,
        concurrent_groups_max: options.concurrent_groups_max,
        use_starting_sequence_number: options.use_starting_sequence_number,
        remove_dangling_deletes: options.remove_dangling_deletes,
        memory_bytes: memory_bytes(&chosen, &rules),
        skipped: skips.into_rows(),
        groups: chosen,
        sorting: rules.sorting.clone(),
        rules: description,
    })
}

fn by_partition(files: &[LiveFile]) -> BTreeMap<Partition<'_>, Vec<&LiveFile>> {
    let mut partitions = BTreeMap::<Partition<'_>, Vec<&LiveFile>>::new();
    for file in files {
        partitions
            .entry(deletes::partition(file))
            .or_default()
            .push(file);
    }
    for files in partitions.values_mut() {
        files.sort_by_key(|live| (live.sequence_number, live.file.file_path.as_str()));
    }
    partitions
}

fn listed_twice(files: &[LiveFile]) -> HashSet<&str> {
    let mut seen = HashSet::new();
    files
        .iter()
        .map(|live| live.file.file_path.as_str())
        .filter(|path| !seen.insert(*path))
        .collect()
}

struct Sieve<'a> {
    metadata: &'a TableMetadata,
    rules: &'a Rules<'a>,
    history: &'a History<'a>,
    deletes: Deletes<'a>,
    listed_twice: HashSet<&'a str>,
    /// Why no row can be placed under the output spec.
    immovable: Option<String>,
}

impl<'a> Sieve<'a> {
    fn path(&self, (spec_id, values): Partition<'_>) -> String {
        match self.metadata.spec(spec_id) {
            Some(spec) => spec.path(values),
            None => format!("spec {spec_id}"),
        }
    }

    /// The groups worth rewriting, by partition; those that move to the output spec last.
    fn choose(&self, files: &'a [LiveFile], skips: &mut Skips) -> Vec<Group> {
        let (rules, history) = (self.rules, self.history);
        let mut chosen = Vec::new();
        let mut of_other_specs = Vec::new();
        for (partition, files) in by_partition(files) {
            let path = self.path(partition);
            let candidates = self.candidates(files, &path, skips);
            if partition.0 == rules.output_spec_id {
                let groups = groups::of_partition(&candidates, &path, rules, history, skips);
                chosen.extend(groups);
            } else {
                of_other_specs.extend(candidates);
            }
        }
        of_other_specs.sort_by_key(Candidate::order);
        let groups = groups::of_other_specs(&of_other_specs, rules, history, skips);
        chosen.extend(groups);
        chosen
    }

    fn candidates(
        &self,
        files: Vec<&'a LiveFile>,
        path: &str,
        skips: &mut Skips,
    ) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        for live in files {
            match self.candidate(live) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) => skips.add(path, reason, live.file.file_size_in_bytes),
            }
        }
        if !self.rules.options.rewrite_all {
            self.leave_settled(&mut candidates, path, skips);
        }
        candidates
    }

    /// The file as a candidate, or why it is none.
    fn candidate(&self, live: &'a LiveFile) -> Result<Candidate<'a>, String> {
        let (file, rules) = (&live.file, self.rules);
        if !file.file_format.eq_ignore_ascii_case("parquet") {
            let format = file.file_format.to_lowercase();
            return Err(format!(
                "{format} files are not rewritten in this version, only parquet"
            ));
        }
        if file.key_metadata.is_some() {
            return Err("encrypted".to_owned());
        }
        if self.listed_twice.contains(file.file_path.as_str()) {
            return Err("listed more than once in the table".to_owned());
        }
        if file.spec_id != rules.output_spec_id
            && let Some(why) = &self.immovable
        {
            return Err(format!("written under spec {}; {why}", file.spec_id));
        }
        let spec = self.metadata.spec(file.spec_id).map(AsRef::as_ref);
        if rules
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.may_match(file, spec))
        {
            return Err("no row can match where".to_owned());
        }
        let mut candidate = Candidate::new(live, self.deletes.applying(live), rules);
        if !rules.options.rewrite_all && !candidate.is_chosen() {
            return Err(format!("{} to {} bytes already", rules.min, rules.max));
        }
        match candidate.deletes.unusable.take() {
            Some(reason) => Err(reason),
            None => Ok(candidate),
        }
    }

    /// Leaves alone what the last rewrite by these very rules wrote in the partition, as long as
    /// every other candidate was there for that rewrite to see: looking at the same files again
    /// would only shuffle them. One new file, and all of them count again.
    fn leave_settled(&self, candidates: &mut Vec<Candidate<'a>>, path: &str, skips: &mut Skips) {
        let mut written_at = HashMap::<&str, (i64, i64)>::new();
        for live in candidates.iter().map(|candidate| candidate.live) {
            if let Some(job) = self.history.job_of(live) {
                let at = written_at.entry(job).or_insert((i64::MIN, i64::MIN));
                *at = (*at).max((live.file_sequence_number, live.sequence_number));
            }
        }
        let Some((job, (_, planned_on))) = written_at.into_iter().max_by_key(|(_, at)| *at) else {
            return;
        };
        let settled = |live: &LiveFile| self.history.job_of(live) == Some(job);
        let seen = |live: &LiveFile| settled(live) || live.file_sequence_number <= planned_on;
        if !candidates.iter().all(|candidate| seen(candidate.live)) {
            return;
        }
        candidates.retain(|candidate| {
            let stays = candidate.by_deletes || !settled(candidate.live);
            if !stays {
                skips.add(path, "as the last rewrite left it", candidate.bytes());
            }
            stays
        });
    }
}

/// Sorts stably, so that equals stay in the order of their partitions.
fn order(groups: &mut [Group], order: JobOrder) {
    match order {
        JobOrder::None => {}
        JobOrder::BytesAsc => groups.sort_by_key(Group::input_bytes),
        JobOrder::BytesDesc => groups.sort_by_key(|group| Reverse(group.input_bytes())),
        JobOrder::FilesAsc => groups.sort_by_key(|group| group.inputs.len()),
        JobOrder::FilesDesc => groups.sort_by_key(|group| Reverse(group.inputs.len())),
    }
}

/// Estimated peak: of the `concurrent_groups_max` neediest groups (one, when that is left to the
/// machine, which then runs as many as its budget allows) the sum of
/// `4 x min(input bytes, 2 row groups) (sorted: 8 x min(input bytes, 128 MiB, beyond which it spills)) + 16 x position deletes + the longest of their files +
/// 96 x equality deletes + 64 KiB x inputs + 16 MiB`.
fn memory_bytes(groups: &[Group], rules: &Rules<'_>) -> u64 {
    let mut needs: Vec<u64> = groups
        .iter()
        .map(|group| {
            let deletes = || group.position_deletes.iter();
            let positions = deletes().fold(0_u64, |sum, delete| sum.saturating_add(delete.records));
            let longest = deletes().map(|delete| delete.bytes).max();
            let keys = group
                .equality_deletes
                .iter()
                .fold(0_u64, |sum, delete| sum.saturating_add(delete.records));
            let moved = if group.moves {
                group.input_records()
            } else {
                0
            };
            let (held, decoded) = match rules.sorting {
                Some(_) => (SORTED_BYTES_MAX, SORTED_PER_COMPRESSED),
                None => (
                    rules.row_group_bytes.saturating_mul(ROW_GROUPS_HELD),
                    DECODED_PER_COMPRESSED,
                ),
            };
            (group.input_bytes().min(held).saturating_mul(decoded))
                .saturating_add(positions.saturating_mul(BYTES_PER_DELETE))
                .saturating_add(longest.unwrap_or(0))
                .saturating_add(keys.saturating_mul(BYTES_PER_KEY))
                .saturating_add(moved.saturating_mul(BYTES_PER_MOVED_ROW))
                .saturating_add(BYTES_PER_INPUT.saturating_mul(group.inputs.len() as u64))
                .saturating_add(BYTES_ALWAYS)
        })
        .collect();
    needs.sort_unstable_by_key(|need| Reverse(*need));
    let at_once = rules.options.concurrent_groups_max.unwrap_or(1);
    needs.into_iter().take(at_once).fold(0, u64::saturating_add)
}
