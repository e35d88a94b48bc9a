//! What other writers did since the plan, and which groups that makes wrong (`lake.md` section 2).

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use catalog::Table;
use metadata::{Content, DataFile, LiveFile, LiveFiles, TableMetadata};
use planner::Unwatched;
use planner::dangling::Oldest;
use planner::rewrite::{is_global, path_of_bounds};

use super::schema_change::beyond_additive;
use super::snapshot::MAIN;
use crate::Error;
use crate::deletes::{Bounds, DeleteScope, Wanted, read_positions};
use crate::rewrite::{Rewritten, Terms};

/// A group that must not be committed as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Index into the groups asked about.
    pub(crate) group: usize,
    pub(crate) why: String,
}

/// The groups that may not be committed on `base`, of which `live` are the live files.
pub(super) async fn stale_groups(
    base: &Table,
    live: &LiveFiles,
    groups: &[Rewritten],
    bounds: &Bounds,
) -> Result<Vec<Stale>, Error> {
    let mut stale = Findings::new(groups.len());
    for (index, group) in groups.iter().enumerate() {
        if let Some(why) = terms_broken(&group.terms, &base.metadata) {
            stale.find(index, &why);
        }
    }
    lost_history(&base.metadata, groups, &mut stale);
    removed_inputs(live, groups, &mut stale);
    removed_deletes(live, groups, &mut stale);
    new_equality_deletes(&base.metadata, live, groups, &mut stale);
    new_position_deletes((base, live), groups, bounds, &mut stale).await?;
    Ok(stale.into_stale())
}

/// One reason for each group, the first found.
struct Findings(Vec<Option<String>>);

impl Findings {
    fn new(groups: usize) -> Self {
        Self(vec![None; groups])
    }

    fn find(&mut self, group: usize, why: &str) {
        self.0[group].get_or_insert_with(|| why.to_owned());
    }

    fn into_stale(self) -> Vec<Stale> {
        let found = self.0.into_iter().enumerate();
        found
            .filter_map(|(group, why)| why.map(|why| Stale { group, why }))
            .collect()
    }
}

/// What the files were written under no longer holds.
pub(crate) fn terms_broken(terms: &Terms, now: &TableMetadata) -> Option<String> {
    if now.format_version() != terms.format_version {
        return Some(format!(
            "the table's format is now version {}",
            now.format_version()
        ));
    }
    if now.default_spec().spec_id != terms.default_spec_id {
        return Some("the table's partition spec changed".to_owned());
    }
    if now.default_sort_order_id() != terms.sort_order_id {
        return Some("the table's sort order changed".to_owned());
    }
    let schema = now.current_schema();
    if schema.schema_id == terms.schema.schema_id {
        return None;
    }
    beyond_additive(&terms.schema, schema).map(|why| format!("the table's schema changed: {why}"))
}

/// Expired, rolled back, or the branch moved to another history.
fn lost_history(now: &TableMetadata, groups: &[Rewritten], stale: &mut Findings) {
    let head = now.refs().get(MAIN).map(|main| main.snapshot_id);
    let history: HashSet<i64> = head
        .map(|head| {
            now.history(head)
                .map(|snapshot| snapshot.snapshot_id)
                .collect()
        })
        .unwrap_or_default();
    for (index, group) in groups.iter().enumerate() {
        let planned_on = group.pin.snapshot_id;
        if !history.contains(&planned_on) {
            let why = format!(
                "snapshot {planned_on}, which was planned on, is no longer in main's history"
            );
            stale.find(index, &why);
        }
    }
}

fn removed_inputs(live: &LiveFiles, groups: &[Rewritten], stale: &mut Findings) {
    // A file removed and added again under its path is another one: older deletes do not apply.
    let there: HashSet<(&str, i64)> = live
        .data
        .iter()
        .map(|file| (file.file.file_path.as_str(), file.sequence_number))
        .collect();
    for (index, group) in groups.iter().enumerate() {
        let gone = group
            .group
            .inputs
            .iter()
            .find(|input| !there.contains(&(input.path.as_str(), input.sequence_number)));
        if let Some(input) = gone {
            stale.find(index, &format!("another writer removed {}", input.path));
        }
    }
}

/// A delete file taken out while its data file stays brings the rows back; what was written
/// without them would take them away again.
fn removed_deletes(live: &LiveFiles, groups: &[Rewritten], stale: &mut Findings) {
    let there: HashSet<&str> = live
        .deletes
        .iter()
        .map(|delete| delete.file.file_path.as_str())
        .collect();
    for (index, group) in groups.iter().enumerate() {
        let group = &group.group;
        let positions = group.inputs.iter().flat_map(|input| &input.deletes);
        let equality = group.equality_deletes.iter().map(|delete| &delete.path);
        let mut used = positions.chain(equality);
        if let Some(gone) = used.find(|path| !there.contains(path.as_str())) {
            stale.find(index, &format!("another writer removed {gone}"));
        }
    }
}

fn newer(delete: &LiveFile, group: &Rewritten) -> bool {
    delete.file_sequence_number > group.pin.sequence_number
}

/// Equality deletes keep applying to outputs that lie where the inputs lay and are older than they;
/// they must hit the same rows, no fewer and no more.
fn new_equality_deletes(
    base: &TableMetadata,
    live: &LiveFiles,
    groups: &[Rewritten],
    stale: &mut Findings,
) {
    for delete in equality_deletes(live) {
        let global = base
            .spec(delete.file.spec_id)
            .is_none_or(|spec| is_global(spec));
        for (index, group) in groups.iter().enumerate() {
            let fewer = hits(delete, global, group) && !goes_on(delete, global, group);
            if newer(delete, group) && (fewer || begins(delete, global, group)) {
                let path = &delete.file.file_path;
                stale.find(index, &format!("equality deletes arrived: {path}"));
            }
        }
    }
}

/// Whether the equality delete applies to an input of the group.
fn hits(delete: &LiveFile, global: bool, group: &Rewritten) -> bool {
    group.group.inputs.iter().any(|input| {
        let place = group.group.place(input);
        let reaches =
            place.spec_id == delete.file.spec_id && place.partition == delete.file.partition;
        (global || reaches) && input.sequence_number < delete.sequence_number
    })
}

/// Whether it applies to all outputs too, if they carry the sequence number planned on, and finds
/// the same rows: outputs lack what a dropped column held in the inputs.
fn goes_on(delete: &LiveFile, global: bool, group: &Rewritten) -> bool {
    let same_place = !group.group.moves && group.group.places.len() == 1;
    let kept = |id: &i32| group.terms.schema.field(*id).is_some();
    let ids = delete.file.equality_ids.as_deref().unwrap_or_default();
    ids.iter().all(kept)
        && group.terms.keep_sequence
        && group.pin.sequence_number < delete.sequence_number
        && (global || same_place)
}

/// Whether it applies to outputs that moved to where it deletes, from where it does not.
fn begins(delete: &LiveFile, global: bool, group: &Rewritten) -> bool {
    let reaches = |file: &DataFile| {
        file.spec_id == delete.file.spec_id && file.partition == delete.file.partition
    };
    group.terms.keep_sequence
        && group.pin.sequence_number < delete.sequence_number
        && group.group.moves
        && !global
        && group.outputs.iter().any(reaches)
}

async fn new_position_deletes(
    (base, live): (&Table, &LiveFiles),
    groups: &[Rewritten],
    bounds: &Bounds,
    stale: &mut Findings,
) -> Result<(), Error> {
    let mut group_of = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        group_of.extend(
            group
                .group
                .inputs
                .iter()
                .map(|input| (input.path.as_str(), index)),
        );
    }
    let paths: HashSet<&str> = live
        .data
        .iter()
        .map(|file| file.file.file_path.as_str())
        .collect();
    // Bounds that name no live file may have been cut short: then only its content tells.
    let surely = |delete: &LiveFile, path: &str| {
        delete.file.referenced_data_file.is_some()
            || paths.contains(path)
            || group_of.contains_key(path)
    };
    let mut to_read = Vec::new();
    let positions = live
        .deletes
        .iter()
        .filter(|delete| delete.file.content == Content::PositionDeletes);
    for delete in positions {
        if let Some(path) = referenced(delete).filter(|path| surely(delete, path)) {
            if let Some(index) = group_of.get(path)
                && newer(delete, &groups[*index])
            {
                stale.find(*index, &format!("rows of {path} were deleted"));
            }
            continue;
        }
        let wanted = may_apply(delete, groups);
        if !delete.file.file_format.eq_ignore_ascii_case("parquet") {
            for path in &wanted {
                let why = format!("{} may delete rows of it", delete.file.file_path);
                stale.find(group_of[path.as_str()], &why);
            }
            continue;
        }
        if !wanted.is_empty() {
            to_read.push(scope(delete, wanted, bounds)?);
        }
    }
    let named = read_positions(&base.storage, to_read, bounds, &Unwatched).await?;
    for path in named.into_keys() {
        stale.find(
            group_of[path.as_str()],
            &format!("rows of {path} were deleted"),
        );
    }
    Ok(())
}

/// How the file is read; one that needs more memory than there is asks for a new plan.
fn scope(
    delete: &LiveFile,
    wanted: HashSet<String>,
    bounds: &Bounds,
) -> Result<DeleteScope, Error> {
    let scope = DeleteScope {
        location: delete.file.file_path.clone(),
        bytes: delete.file.file_size_in_bytes,
        records: delete.file.record_count,
        wanted: Wanted::These(wanted),
    };
    if bounds.admit(&scope) {
        return Ok(scope);
    }
    let path = scope.location;
    Err(Error::Moved(format!(
        "{path} arrived, which needs more memory than was planned with"
    )))
}

/// Inputs a partition-wide delete file, newer than their plan, may name.
fn may_apply(delete: &LiveFile, groups: &[Rewritten]) -> HashSet<String> {
    let in_partition = groups.iter().filter(|group| {
        newer(delete, group)
            && group.group.places.iter().any(|place| {
                place.spec_id == delete.file.spec_id && place.partition == delete.file.partition
            })
    });
    in_partition
        .flat_map(|group| &group.group.inputs)
        .filter(|input| input.sequence_number <= delete.sequence_number)
        .map(|input| input.path.clone())
        .collect()
}

/// The one data file a delete file refers to, by its field or by bounds that are equal.
fn referenced(delete: &LiveFile) -> Option<&str> {
    if let Some(path) = &delete.file.referenced_data_file {
        return Some(path);
    }
    path_of_bounds(delete)
}

/// Position delete files whose one data file is rewritten by `groups`: all they hold is applied.
pub(super) fn applied_deletes(live: &LiveFiles, groups: &[Rewritten]) -> Vec<String> {
    let inputs = groups.iter().flat_map(|group| &group.group.inputs);
    let applied: HashSet<(&str, &str)> = inputs
        .flat_map(|input| {
            input
                .deletes
                .iter()
                .map(|delete| (input.path.as_str(), delete.as_str()))
        })
        .collect();
    position_deletes(live)
        .filter(|delete| {
            let path = delete.file.file_path.as_str();
            referenced(delete).is_some_and(|data| applied.contains(&(data, path)))
        })
        .map(|delete| delete.file.file_path.clone())
        .collect()
}

/// Position delete files of many data files, in the partitions of `groups`, that can apply to no
/// data file once these groups are committed: every file they may name is rewritten or gone.
pub(super) fn dangling_deletes(live: &LiveFiles, groups: &[Rewritten]) -> Vec<String> {
    let inputs = input_paths(groups);
    // The oldest data file that stays in each partition; outputs are new paths, which no delete
    // file that exists can name.
    let mut oldest = HashMap::new();
    for group in groups {
        for place in &group.group.places {
            oldest.insert((place.spec_id, &place.partition), i64::MAX);
        }
    }
    for data in live
        .data
        .iter()
        .filter(|data| !inputs.contains(data.file.file_path.as_str()))
    {
        if let Some(sequence) = oldest.get_mut(&(data.file.spec_id, &data.file.partition)) {
            *sequence = data.sequence_number.min(*sequence);
        }
    }
    position_deletes(live)
        .filter(|delete| referenced(delete).is_none())
        .filter(|delete| {
            oldest
                .get(&(delete.file.spec_id, &delete.file.partition))
                .is_some_and(|oldest| delete.sequence_number < *oldest)
        })
        .map(|delete| delete.file.file_path.clone())
        .collect()
}

/// Equality delete files that can apply to no data file once these groups are committed, on this
/// base: everything left in their scope, the outputs included, is as new as they are or newer.
/// `output_sequence` is what the outputs carry. In doubt one is kept.
pub(super) fn dangling_equality_deletes(
    table: &TableMetadata,
    live: &LiveFiles,
    groups: &[Rewritten],
) -> Vec<String> {
    let inputs = input_paths(groups);
    let left = live
        .data
        .iter()
        .filter(|data| !inputs.contains(data.file.file_path.as_str()))
        .map(|data| (&data.file, data.sequence_number));
    let written = groups.iter().flat_map(|group| {
        // What they get else is above every delete's.
        let kept = group.terms.keep_sequence;
        let sequence = if kept {
            group.pin.sequence_number
        } else {
            i64::MAX
        };
        group.outputs.iter().map(move |file| (file, sequence))
    });
    let all = left.chain(written);
    let oldest = Oldest::of(all.map(|(file, number)| (file.spec_id, &*file.partition, number)));
    equality_deletes(live)
        .filter(|delete| oldest.equality(table, delete).is_some())
        .map(|delete| delete.file.file_path.clone())
        .collect()
}

fn input_paths(groups: &[Rewritten]) -> HashSet<&str> {
    let inputs = groups.iter().flat_map(|group| &group.group.inputs);
    inputs.map(|input| input.path.as_str()).collect()
}

fn equality_deletes(live: &LiveFiles) -> impl Iterator<Item = &LiveFile> {
    live.deletes
        .iter()
        .filter(|delete| delete.file.content == Content::EqualityDeletes)
}

fn position_deletes(live: &LiveFiles) -> impl Iterator<Item = &LiveFile> {
    live.deletes
        .iter()
        .filter(|delete| delete.file.content == Content::PositionDeletes)
}
