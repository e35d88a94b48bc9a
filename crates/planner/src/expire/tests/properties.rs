//! What holds of every expiry, against a model that asks of each snapshot alone whether it stays.
//! A failing case is printed with its seed by proptest.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Case, DAY, NOW, after, case, ids};

/// A ref: a branch or a tag, on which snapshot, with which settings (days).
type AnyRef = (bool, usize, Option<i32>, Option<i64>, Option<i64>);

fn any_case() -> impl Strategy<Value = Case> {
    let snapshots = prop::collection::vec((0usize..12, 0i64..15), 1..12);
    let setting = || prop::option::weighted(0.3, 1i64..12);
    let keep = prop::option::weighted(0.3, 1i32..5);
    let named = (any::<bool>(), 0usize..12, keep, setting(), setting());
    let refs = prop::collection::vec(named, 0..5);
    let arguments = (prop::option::of(0i64..15), prop::option::of(1i32..6));
    (snapshots, refs, arguments).prop_map(|(snapshots, refs, (older_than, retain_last))| {
        // A parent always comes before: histories branch, and some begin anew.
        let snapshots: Vec<_> = snapshots
            .iter()
            .zip(1i64..)
            .map(|((parent, age), id)| {
                let parent = Some(*parent as i64).filter(|parent| (1..id).contains(parent));
                (id, parent, age * DAY)
            })
            .collect();
        let mut made = case(&snapshots);
        for (number, named) in refs.iter().enumerate() {
            made = name(made, number, named);
        }
        if let Some(days) = older_than {
            made = made.option("older_than", &(NOW - days * DAY));
        }
        if let Some(count) = retain_last {
            made = made.option("retain_last", &count);
        }
        made
    })
}

fn name(made: Case, number: usize, named: &AnyRef) -> Case {
    let (branch, at, keep, age, ref_age) = named;
    let id = (at % made.snapshots.len()) as i64 + 1;
    let mut settings = json!({});
    if let Some(days) = ref_age {
        settings["max-ref-age-ms"] = (days * DAY).into();
    }
    if number > 0 && !branch {
        return made.tag(&format!("r{number}"), id, settings);
    }
    if let Some(keep) = keep {
        settings["min-snapshots-to-keep"] = (*keep).into();
    }
    if let Some(days) = age {
        settings["max-snapshot-age-ms"] = (days * DAY).into();
    }
    let name = if number == 0 {
        "main".to_owned()
    } else {
        format!("r{number}")
    };
    made.branch(&name, id, settings)
}

/// What the rules say, written down as slowly as they read.
fn model(case: &Case) -> (BTreeSet<i64>, BTreeSet<String>) {
    let number = |value: &Value| value.as_i64();
    let age = |id: i64| case.snapshots[id as usize - 1].2;
    let older_than = case
        .options
        .get("older_than")
        .map(|ms| ms.parse::<i64>().unwrap());
    let cutoff = older_than.unwrap_or(NOW - 5 * DAY);
    let least = case
        .options
        .get("retain_last")
        .map_or(1, |n| n.parse::<i64>().unwrap());
    let chain = |head: i64| {
        let mut chain = vec![head];
        while let Some(parent) = case.snapshots[chain[chain.len() - 1] as usize - 1].1 {
            chain.push(parent);
        }
        chain
    };
    let gone_refs: BTreeSet<String> = case
        .refs
        .iter()
        .filter(|(name, named)| {
            let max = number(&named["max-ref-age-ms"]).unwrap_or(i64::MAX);
            *name != "main" && age(number(&named["snapshot-id"]).unwrap()) > max
        })
        .map(|(name, _)| name.clone())
        .collect();
    let refs = || {
        case.refs
            .iter()
            .filter(|(name, _)| !gone_refs.contains(*name))
            .map(|(_, r)| r)
    };
    let stays = |id: i64| {
        let mut in_history = false;
        for named in refs() {
            let head = number(&named["snapshot-id"]).unwrap();
            let chain = if named["type"] == "branch" {
                chain(head)
            } else {
                vec![head]
            };
            let Some(place) = chain.iter().position(|other| *other == id) else {
                continue;
            };
            in_history = true;
            let least = number(&named["min-snapshots-to-keep"]).unwrap_or(least);
            let own = number(&named["max-snapshot-age-ms"]).map(|age| NOW - age);
            let cutoff = own.unwrap_or(cutoff);
            let kept =
                |(place, id): (usize, &i64)| (place as i64) < least || NOW - age(*id) >= cutoff;
            if place == 0 || chain[..=place].iter().enumerate().all(kept) {
                return true;
            }
        }
        !in_history && NOW - age(id) >= cutoff
    };
    let gone = case
        .snapshots
        .iter()
        .map(|(id, ..)| *id)
        .filter(|id| !stays(*id));
    (gone.collect(), gone_refs)
}

proptest! {
    #[test]
    fn the_plan_is_what_the_rules_say_and_leaves_nothing_to_do(case in any_case()) {
        let table = case.table();
        let plan = case.plan().unwrap();
        let (gone, gone_refs) = model(&case);
        prop_assert_eq!(ids(&plan).into_iter().collect::<BTreeSet<_>>(), gone.clone());
        prop_assert_eq!(plan.remove_refs.iter().cloned().collect::<BTreeSet<_>>(), gone_refs);
        for (name, reference) in table.refs() {
            let kept = !plan.remove_refs.contains(name);
            prop_assert!(!(kept && gone.contains(&reference.snapshot_id)), "{} is named", name);
        }
        prop_assert_eq!(
            plan.kept.values().sum::<u64>() as usize + plan.expire.len(),
            table.snapshots().len()
        );
        prop_assert_eq!(plan.again(&table, "file:///t/m.json").unwrap(), plan.clone());

        let left = after(&table, &plan);
        prop_assert!(plan.again(&left, "").unwrap().changes_nothing());
        let again = super::plan(&left, "db.t", "", NOW, &[], &plan.options).unwrap();
        prop_assert!(again.changes_nothing(), "{:?}", again);
    }

    #[test]
    fn a_ref_that_lands_keeps_its_snapshot(case in any_case(), at in 0usize..12, branch: bool) {
        let plan = case.plan().unwrap();
        let id = (at % case.snapshots.len()) as i64 + 1;
        let landed = name(case, 9, &(branch, id as usize - 1, None, None, None));
        let again = plan.again(&landed.table(), "").unwrap();
        prop_assert!(!ids(&again).contains(&id));
        prop_assert!(ids(&again).iter().all(|id| ids(&plan).contains(id)));
        after(&landed.table(), &again);
    }
}
