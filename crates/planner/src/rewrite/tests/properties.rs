//! What holds of every plan. A failing case is printed with its seed by proptest.

use std::collections::{BTreeMap, BTreeSet};

use metadata::{Content, LiveFile};
use proptest::prelude::*;
use serde_json::json;

use super::super::{Plan, RULES_KEY};
use super::{
    CURRENT_SEQUENCE, CURRENT_SNAPSHOT, Case, at, case, data, of, positions, region, snapshot,
};

const REGIONS: [&str; 3] = ["eu", "us", "asia"];

fn any_data() -> impl Strategy<Value = LiveFile> {
    let size = prop_oneof![4 => 0u64..80, 1 => 60u64..260, 1 => 180u64..600];
    (
        size,
        0u64..60,
        1..=CURRENT_SEQUENCE,
        0..REGIONS.len(),
        0..20,
    )
        .prop_map(|(bytes, records, sequence, place, oddity)| {
            let mut live = at(data("", bytes), sequence);
            live.file.record_count = records;
            match oddity {
                0 => live,
                1 => {
                    live.file.file_format = "avro".into();
                    region(live, REGIONS[place])
                }
                _ => region(live, REGIONS[place]),
            }
        })
}

/// A position delete file of one data file (by number) or of a partition, or an equality delete
/// file of a partition.
fn any_delete() -> impl Strategy<Value = (LiveFile, Option<usize>)> {
    let place = 0..REGIONS.len();
    (
        1u64..40,
        1..=CURRENT_SEQUENCE,
        place,
        prop::option::of(0usize..40),
        0..3,
    )
        .prop_map(|(records, sequence, place, data, kind)| {
            let mut delete = region(at(positions("", records), sequence), REGIONS[place]);
            if kind > 0 {
                return (delete, data);
            }
            delete.file.content = Content::EqualityDeletes;
            delete.file.equality_ids = Some(vec![2]);
            (delete, None)
        })
}

fn any_options() -> impl Strategy<Value = BTreeMap<String, String>> {
    let number = |key: &'static str, values: std::ops::Range<u64>| {
        prop::option::of(values).prop_map(move |value| value.map(|value| (key, value.to_string())))
    };
    let ratio = prop::option::of(1u32..=10).prop_map(|tenths| {
        Some((
            "delete-ratio-threshold",
            (f64::from(tenths?) / 10.0).to_string(),
        ))
    });
    let order = prop::sample::select(vec!["none", "bytes-asc", "files-desc"])
        .prop_map(|order| Some(("rewrite-job-order", order.to_owned())));
    let starting = any::<bool>()
        .prop_map(|starting| Some(("use-starting-sequence-number", starting.to_string())));
    (
        number("min-input-files", 1..8),
        number("min-file-size-bytes", 0..100),
        number("max-file-size-bytes", 101..300),
        number("max-file-group-size-bytes", 1..400),
        number("max-file-group-input-files", 1..8),
        number("delete-file-threshold", 1..4),
        ratio,
        order,
        starting,
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| {
            let options = [a, b, c, d, e, f, g, h, i];
            options
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()
        })
}

fn any_case() -> impl Strategy<Value = Case> {
    let files = prop::collection::vec(any_data(), 0..40);
    (
        files,
        prop::collection::vec(any_delete(), 0..8),
        any_options(),
    )
        .prop_map(|(mut files, deletes, options)| {
            for (number, live) in files.iter_mut().enumerate() {
                live.file.file_path = format!("f{number:02}");
            }
            let deletes = deletes
                .into_iter()
                .enumerate()
                .map(|(number, (mut delete, target))| {
                    delete.file.file_path = format!("d{number}");
                    match target.and_then(|target| files.get(target)) {
                        Some(data) => {
                            delete.file.spec_id = data.file.spec_id;
                            delete.file.partition = data.file.partition.clone();
                            of(delete, &data.file.file_path)
                        }
                        None => delete,
                    }
                });
            let all: Vec<LiveFile> = deletes
                .collect::<Vec<_>>()
                .into_iter()
                .chain(files)
                .collect();
            let mut case = case(all).partitioned();
            case.options.extend(options);
            case
        })
}

/// The table after the plan was executed: each group's inputs are gone and its outputs are there,
/// each as large as `sizes` says in hundredths of what was expected.
fn executed(mut case: Case, plan: &Plan, sizes: &[u64]) -> Case {
    let replaced: BTreeSet<&str> = plan
        .groups
        .iter()
        .flat_map(|group| &group.inputs)
        .map(|input| input.path.as_str())
        .collect();
    case.files
        .data
        .retain(|live| !replaced.contains(live.file.file_path.as_str()));
    let mut sizes = sizes.iter().cycle();
    let next = CURRENT_SEQUENCE + 1;
    let (mut added, mut removed) = (0, 0);
    for (number, group) in plan.groups.iter().enumerate() {
        removed += group.input_bytes();
        for output in 0..group.output_files {
            let share = |part: usize| group.output_bytes * part as u64 / group.output_files as u64;
            let expected = share(output + 1) - share(output);
            let bytes = expected * sizes.next().expect("sizes") / 100;
            added += bytes;
            let mut live = at(data(&format!("out-{number}-{output}"), bytes), next);
            live.file.spec_id = group.places[0].spec_id;
            live.file.partition = group.places[0].partition.clone();
            if plan.use_starting_sequence_number {
                live.sequence_number = plan.sequence_number;
            }
            live.snapshot_id = Some(next);
            case.files.data.push(live);
        }
    }
    case.snapshots.push(snapshot(
        next,
        next,
        Some(CURRENT_SNAPSHOT),
        json!({
            "operation": "replace",
            "snowpack.action": "rewrite_data_files",
            "snowpack.job-id": "job",
            RULES_KEY: plan.rules,
            "added-files-size": added.to_string(), "added-records": "1000",
            "removed-files-size": removed.to_string(), "deleted-records": "1000",
        }),
    ));
    case
}

proptest! {
    #[test]
    fn every_live_file_is_chosen_once_or_left_with_a_reason(case in any_case()) {
        let plan = case.plan().unwrap();
        let live: BTreeSet<&str> =
            case.files.data.iter().map(|live| live.file.file_path.as_str()).collect();
        let chosen: Vec<&str> =
            plan.groups.iter().flat_map(|g| &g.inputs).map(|input| input.path.as_str()).collect();
        let once: BTreeSet<&str> = chosen.iter().copied().collect();
        prop_assert_eq!(once.len(), chosen.len());
        prop_assert!(once.is_subset(&live));
        let left: usize = plan.skipped.iter().map(|skipped| skipped.files).sum();
        prop_assert_eq!(chosen.len() + left, live.len());
        prop_assert!(plan.skipped.iter().all(|s| s.files > 0 && !s.reason.is_empty()));
        prop_assert_eq!(plan.nothing().is_some(), plan.groups.is_empty());
    }

    #[test]
    fn groups_are_of_one_partition_and_bounded(case in any_case()) {
        let plan = case.plan().unwrap();
        let number = |key: &str, default: u64| {
            case.options.get(key).map_or(default, |value| value.parse().unwrap())
        };
        let bytes_max = number("max-file-group-size-bytes", u64::MAX);
        let files_max = number("max-file-group-input-files", u64::MAX);
        for group in &plan.groups {
            prop_assert!(group.input_bytes() <= bytes_max || group.inputs.len() == 1);
            prop_assert!(group.inputs.len() as u64 <= files_max);
            prop_assert!(group.output_files >= 1 && !group.inputs.is_empty());
            for input in &group.inputs {
                let live = case.files.data.iter().find(|l| l.file.file_path == input.path).unwrap();
                prop_assert_eq!(live.file.spec_id, group.places[0].spec_id);
                prop_assert_eq!(&live.file.partition, &group.places[0].partition);
                for delete in &input.deletes {
                    let delete =
                        case.files.deletes.iter().find(|d| d.file.file_path == *delete).unwrap();
                    prop_assert!(delete.sequence_number >= live.sequence_number);
                    prop_assert_eq!(&delete.file.partition, &live.file.partition);
                }
                let applies = |delete: &&LiveFile| {
                    delete.file.content == Content::EqualityDeletes
                        && delete.file.partition == live.file.partition
                        && delete.sequence_number > live.sequence_number
                };
                let want: BTreeSet<&str> = case.files.deletes.iter().filter(applies)
                    .map(|delete| delete.file.file_path.as_str()).collect();
                let listed: Vec<&str> = input.equality_deletes.iter()
                    .map(|index| group.equality_deletes[*index].path.as_str()).collect();
                prop_assert_eq!(listed.len(), want.len());
                prop_assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), want);
            }
            let by_size = group.reason.contains("below");
            prop_assert!(!by_size || group.output_files < group.inputs.len(), "{:?}", group);
        }
    }

    #[test]
    fn the_order_files_are_listed_in_changes_nothing(
        case in any_case(),
        data in any::<prop::sample::Index>(),
        deletes in any::<prop::sample::Index>(),
    ) {
        let plan = case.plan().unwrap();
        let mut turned = case;
        for (list, by) in [(&mut turned.files.data, data), (&mut turned.files.deletes, deletes)] {
            if !list.is_empty() {
                let by = by.index(list.len());
                list.rotate_left(by);
                list[by..].reverse();
            }
        }
        prop_assert_eq!(turned.plan().unwrap(), plan);
    }

    #[test]
    fn a_second_run_finds_nothing(
        case in any_case(),
        sizes in prop::collection::vec(20u64..200, 1..10),
    ) {
        let plan = case.plan().unwrap();
        prop_assume!(!plan.groups.is_empty());
        let again = executed(case, &plan, &sizes).plan().unwrap();
        prop_assert_eq!(&again.groups, &[]);
    }

    #[test]
    fn a_second_run_finds_nothing_even_without_a_trace_of_the_first(case in any_case()) {
        // As after a rewrite by another engine that did exactly what was expected.
        let mut case = case;
        case.options.remove("max-file-group-size-bytes");
        case.options.remove("max-file-group-input-files");
        let plan = case.plan().unwrap();
        let mut after = executed(case, &plan, &[100]);
        after.snapshots.pop();
        prop_assert_eq!(&after.plan().unwrap().groups, &[]);
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.options)?;
        for live in self.files.data.iter().chain(&self.files.deletes) {
            let file = &live.file;
            writeln!(
                f,
                "{} {} bytes {} records seq {}/{} {:?} -> {:?}",
                file.file_path,
                file.file_size_in_bytes,
                file.record_count,
                live.sequence_number,
                live.file_sequence_number,
                file.partition,
                file.referenced_data_file
            )?;
        }
        Ok(())
    }
}
