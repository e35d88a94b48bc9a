//! Every case of the queue's contract has a test that carries its number, as in `q13_`; a case that
//! waits for another lane is named here with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::tree::{none, rust};

/// The cases, by number; gaps are deliberate.
const CASES: &[RangeInclusive<u32>] =
    &[1..=9, 11..=16, 18..=21, 23..=50, 52..=59, 61..=62, 64..=68];

/// Cases of lanes that are not there yet.
const LATER: &[(u32, &str)] = &[
    (34, "urgent jobs without end: the lane of user jobs"),
    (35, "caps of a tenant: the lane of user jobs"),
    (37, "caps of a pool: the lane of user jobs"),
    (39, "parked behind busy keys: submissions that queue"),
    (40, "waking who is parked: submissions that queue"),
    (42, "several keys of one job: the lane of user jobs"),
    (43, "keys of several slots: the lane of user jobs"),
    (44, "keys of a million jobs: the lane of user jobs"),
];

/// The numbers a test's name carries, and the names.
fn tested() -> BTreeMap<u32, BTreeSet<String>> {
    let mut tested: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in rust() {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let [above, line] = pair else { continue };
            if !above.starts_with("#[tokio::test") && *above != "#[test]" {
                continue;
            }
            let Some(name) = line.split("fn ").nth(1).and_then(|s| s.split('(').next()) else {
                continue;
            };
            for part in name.split('_') {
                let number = part.strip_prefix('q').and_then(|n| n.parse::<u32>().ok());
                if let Some(number) = number {
                    tested.entry(number).or_default().insert(name.to_owned());
                }
            }
        }
    }
    tested
}

#[test]
fn every_case_of_the_queue_has_a_test_or_waits_for_a_lane() {
    let cases: BTreeSet<u32> = CASES.iter().cloned().flatten().collect();
    let tested = tested();
    let mut complaints = Vec::new();
    for case in &cases {
        let later = LATER.iter().find(|(number, _)| number == case);
        match (tested.get(case), later) {
            (None, None) => complaints.push(format!(
                "case {case} of the queue has no test; name one q{case:02}_.."
            )),
            (Some(names), Some((_, why))) => complaints.push(format!(
                "tests/tidy/cases.rs: case {case} ({why}) is tested by {names:?}; take it off the list"
            )),
            _ => {}
        }
    }
    for (number, names) in tested.iter().filter(|(number, _)| !cases.contains(number)) {
        complaints.push(format!("{names:?}: the queue has no case {number}"));
    }
    none(&complaints);
}
