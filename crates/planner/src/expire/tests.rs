//! The rules of an expiry, row by row, and its properties.
//!
//! A snapshot's id is its place; the clock stands at [`NOW`] and times are milliseconds before it.

mod properties;

use std::collections::BTreeMap;

use metadata::{TableMetadata, Update};
use serde_json::{Value, json};

use super::{Needed, Options, Plan, Refused, plan};
use crate::{Expiring, Intent, IntentId, OpenIntent};

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

/// A table and what is asked of it. Snapshots: id, parent, age.
#[derive(Debug, Clone)]
struct Case {
    snapshots: Vec<(i64, Option<i64>, i64)>,
    refs: BTreeMap<String, Value>,
    properties: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    version: u8,
    uuid: &'static str,
    updated_ms: i64,
}

fn case(snapshots: &[(i64, Option<i64>, i64)]) -> Case {
    Case {
        snapshots: snapshots.to_vec(),
        refs: BTreeMap::new(),
        properties: BTreeMap::new(),
        options: BTreeMap::new(),
        version: 2,
        uuid: "9c12d441-03fe-4693-9a96-a0705ddf69c1",
        updated_ms: NOW,
    }
}

/// One line of history on main, the last the youngest; ages in days.
fn line(ages: &[i64]) -> Case {
    let snapshots = ages.iter().zip(1..);
    let parent = |id: i64| Some(id - 1).filter(|id| *id > 0);
    let snapshots = snapshots.map(|(age, id)| (id, parent(id), age * DAY));
    let case = case(&snapshots.collect::<Vec<_>>());
    case.branch("main", ages.len() as i64, json!({}))
}

impl Case {
    fn named(mut self, kind: &str, name: &str, id: i64, keep: Value) -> Self {
        let mut named = json!({"snapshot-id": id, "type": kind});
        if let (Value::Object(named), Value::Object(keep)) = (&mut named, keep) {
            named.extend(keep);
        }
        self.refs.insert(name.to_owned(), named);
        self
    }

    fn branch(self, name: &str, id: i64, keep: Value) -> Self {
        self.named("branch", name, id, keep)
    }

    fn tag(self, name: &str, id: i64, keep: Value) -> Self {
        self.named("tag", name, id, keep)
    }

    fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    fn option(mut self, key: &str, value: &impl ToString) -> Self {
        self.options.insert(key.to_owned(), value.to_string());
        self
    }

    fn document(&self) -> Value {
        let snapshot = |(id, parent, age): &(i64, Option<i64>, i64)| {
            let mut snapshot = json!({
                "snapshot-id": id,
                "sequence-number": if self.version == 1 { 0 } else { *id },
                "timestamp-ms": NOW - age,
                "manifest-list": format!("file:///t/{id}.avro"),
                "summary": {"operation": "append"},
                "schema-id": 0,
            });
            if let Some(parent) = parent {
                snapshot["parent-snapshot-id"] = (*parent).into();
            }
            snapshot
        };
        let current = self.refs.get("main").map(|main| &main["snapshot-id"]);
        json!({
            "format-version": self.version,
            "table-uuid": self.uuid,
            "location": "file:///t",
            "last-sequence-number": 10_000,
            "next-row-id": 0,
            "last-updated-ms": self.updated_ms,
            "last-column-id": 3,
            "current-schema-id": 2,
            "schemas": [schema(0, &[1]), schema(1, &[1, 2]), schema(2, &[1, 3])],
            "default-spec-id": 0,
            "partition-specs": [
                {"spec-id": 0, "fields": []},
                {"spec-id": 1, "fields": [
                    {"source-id": 2, "field-id": 1000, "name": "c2", "transform": "identity"},
                ]},
            ],
            "last-partition-id": 1000,
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": self.properties,
            "current-snapshot-id": current.cloned().unwrap_or(json!(-1)),
            "snapshots": self.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
            "refs": self.refs,
            "statistics": [{"snapshot-id": 1, "statistics-path": "file:///t/1.stats",
                "file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": []}],
        })
    }

    fn table(&self) -> TableMetadata {
        TableMetadata::parse(self.document().to_string().as_bytes()).expect("metadata")
    }

    fn plan(&self) -> Result<Plan, Refused> {
        self.plan_with(&[])
    }

    fn plan_with(&self, open: &[OpenIntent]) -> Result<Plan, Refused> {
        let options = Options::parse(&self.options)?;
        plan(
            &self.table(),
            "db.t",
            "file:///t/m.json",
            NOW,
            open,
            &options,
        )
    }

    /// The snapshots that go.
    #[track_caller]
    fn check(&self, want: &[i64]) -> Plan {
        let plan = self.plan().expect("a plan");
        let mut ids = ids(&plan);
        ids.sort_unstable();
        assert_eq!(ids, want, "for {self:?}");
        plan
    }

    #[track_caller]
    fn refused(&self, want: &str) {
        let error = self.plan().expect_err("refused").to_string();
        assert!(error.contains(want), "{error}");
    }
}

fn schema(id: i32, columns: &[i32]) -> Value {
    let field =
        |id: &i32| json!({"id": id, "name": format!("c{id}"), "required": false, "type": "int"});
    json!({"type": "struct", "schema-id": id, "fields": columns.iter().map(field).collect::<Vec<_>>()})
}

fn ids(plan: &Plan) -> Vec<i64> {
    plan.expire.iter().map(|gone| gone.snapshot_id).collect()
}

/// The table after the plan was executed.
fn after(table: &TableMetadata, plan: &Plan) -> TableMetadata {
    let refs = plan
        .remove_refs
        .iter()
        .map(|name| Update::RemoveSnapshotRef {
            ref_name: name.clone(),
        });
    let mut updates: Vec<Update> = refs.collect();
    updates.push(Update::RemoveSnapshots {
        snapshot_ids: ids(plan),
    });
    table
        .apply(&updates, NOW)
        .expect("the plan can be executed")
}

#[test]
fn five_days_and_the_last_one_are_kept_unless_somebody_says_otherwise() {
    let plan = line(&[20, 9, 6, 4, 1]).check(&[1, 2, 3]);
    let kept = [
        ("named by a branch or tag", 1),
        ("younger than the cutoff", 1),
    ];
    assert_eq!(plan.kept, kept.map(|(why, n)| (why.to_owned(), n)).into());
    assert_eq!(plan.grace_ms, DAY);
    assert_eq!(plan.expire[0].statistics, ["file:///t/1.stats"]);
    assert_eq!(plan.expire[0].manifest_list, "file:///t/1.avro");
    line(&[20, 9, 6]).check(&[1, 2]);
    line(&[20, 9, 6]).option("retain_last", &2).check(&[1]);
    line(&[20, 9, 6]).option("retain_last", &9).check(&[]);
    line(&[5]).check(&[]);
    let cutoff = NOW - 8 * DAY;
    line(&[20, 9, 6, 4])
        .option("older_than", &cutoff)
        .check(&[1, 2]);
    line(&[8, 1]).option("older_than", &cutoff).check(&[]);
    line(&[1, 1, 1])
        .option("older_than", &(NOW + DAY))
        .check(&[1, 2]);
    assert_eq!(
        case(&[]).check(&[]).nothing(),
        Some("the table has no snapshots")
    );
}

#[test]
fn m27_table_properties_override_defaults_and_arguments_override_them() {
    let table = || {
        line(&[20, 9, 6, 4, 1])
            .property("history.expire.max-snapshot-age-ms", &(8 * DAY).to_string())
            .property("history.expire.min-snapshots-to-keep", "4")
            .property("snowpack.deletion-grace-ms", "0")
    };
    assert_eq!(table().check(&[1]).grace_ms, 0);
    table().option("retain_last", &1).check(&[1, 2]);
    table()
        .option("older_than", &NOW)
        .option("retain_last", &2)
        .check(&[1, 2, 3]);
    assert_eq!(
        table().option("deletion-grace-ms", &7).check(&[1]).grace_ms,
        7
    );
}

#[test]
fn a_refs_own_settings_win() {
    let own = json!({"min-snapshots-to-keep": 3});
    line(&[20, 9, 6])
        .branch("main", 3, own.clone())
        .option("retain_last", &1)
        .check(&[]);
    let own_age = json!({"max-snapshot-age-ms": 10 * DAY});
    line(&[20, 9, 6])
        .branch("main", 3, own_age)
        .option("older_than", &NOW)
        .check(&[1]);
    // What one branch does not keep another does.
    line(&[20, 9, 6, 5]).branch("b", 3, own).check(&[]);
    line(&[20, 9, 6, 5])
        .branch("b", 2, json!({}))
        .check(&[1, 3]);
    line(&[20, 9, 6, 5]).tag("t", 2, json!({})).check(&[1, 3]);
}

#[test]
fn refs_older_than_they_may_be_go_and_main_never_does() {
    let young = json!({"max-ref-age-ms": 30 * DAY});
    let old = json!({"max-ref-age-ms": DAY});
    let case = line(&[20, 9, 6])
        .tag("young", 1, young)
        .tag("old", 2, old.clone())
        .branch("main", 3, old);
    let plan = case.check(&[2]);
    assert_eq!(plan.remove_refs, ["old"]);
    assert_eq!(plan.refs.len(), 3, "every ref is relied on");
    let all = line(&[20, 9, 6])
        .tag("a", 1, json!({}))
        .branch("b", 2, json!({}))
        .property("history.expire.max-ref-age-ms", &(10 * DAY).to_string());
    assert_eq!(all.check(&[1]).remove_refs, ["a"]);
    // A ref can go and its snapshot stay.
    let shared = line(&[6, 1]).tag("t", 2, json!({"max-ref-age-ms": 1}));
    let plan = shared.check(&[1]);
    assert_eq!((plan.remove_refs.len(), plan.changes_nothing()), (1, false));
}

#[test]
fn a_branchs_history_is_kept_up_to_the_first_old_one() {
    // Snapshot 2 has an older clock than its parent.
    let skewed = case(&[(1, None, DAY), (2, Some(1), 9 * DAY), (3, Some(2), 0)]);
    skewed.branch("main", 3, json!({})).check(&[1, 2]);
}

#[test]
fn a_snapshot_no_branch_has_stays_while_it_is_young() {
    let staged = [
        (1, None, 9 * DAY),
        (2, Some(1), DAY),
        (3, Some(1), 9 * DAY),
        (4, Some(1), DAY),
    ];
    let plan = case(&staged).branch("main", 2, json!({})).check(&[1, 3]);
    assert_eq!(plan.kept["in no branch, younger than the cutoff"], 1);
    case(&staged).check(&[1, 3]);
}

#[test]
fn parents_in_a_ring_end_the_walk() {
    let ring = case(&[(1, Some(2), DAY), (2, Some(1), DAY)]);
    ring.branch("main", 2, json!({})).check(&[]);
}

#[test]
fn ids_asked_for_go_unless_a_ref_stands_against_it() {
    let asked = |ids: &str| line(&[3, 2, 1]).option("snapshot_ids", &ids);
    asked("1, 2").check(&[1, 2]);
    asked("3").refused("snapshot 3 cannot be expired: ref `main` names it");
    asked("2,7,9").refused("not in the table: 7, 9");
    asked("2")
        .tag("t", 2, json!({}))
        .refused("ref `t` names it");
    asked("2")
        .tag("t", 2, json!({"max-ref-age-ms": 1}))
        .check(&[2]);
    let own = json!({"min-snapshots-to-keep": 2});
    asked("2")
        .branch("main", 3, own.clone())
        .refused("branch `main` keeps it");
    asked("1").branch("main", 3, own).check(&[1]);
    let own_age = json!({"max-snapshot-age-ms": 2 * DAY});
    asked("2")
        .branch("main", 3, own_age.clone())
        .refused("branch `main` keeps it");
    asked("1").branch("main", 3, own_age).check(&[1]);
}

#[test]
fn an_id_an_earlier_attempt_expired_is_not_unknown() {
    let intent = Intent {
        table_uuid: String::new(),
        planned_location: String::new(),
        ids: vec![Expiring {
            snapshot_id: 7,
            manifest_list: String::new(),
            manifests: Vec::new(),
            statistics: Vec::new(),
        }],
        grace_ms: 0,
    };
    let open = OpenIntent {
        id: IntentId(1),
        job: model::JobId::new("j"),
        attempt: model::AttemptId::new("a"),
        intent,
        attempt_over: true,
        old: false,
    };
    let case = line(&[1, 1]).option("snapshot_ids", &"7");
    let plan = case.plan_with(&[open]).unwrap();
    assert_eq!(
        (ids(&plan), plan.open_intents, plan.nothing()),
        (vec![], 1, None)
    );
    case.refused("not in the table: 7");
}

#[test]
fn what_cannot_be_trusted_is_refused_by_name() {
    for (key, value) in [
        ("history.expire.max-snapshot-age-ms", "-1"),
        ("history.expire.min-snapshots-to-keep", "0"),
        ("history.expire.min-snapshots-to-keep", "4294967297"),
        ("history.expire.max-ref-age-ms", "0"),
        ("history.expire.max-ref-age-ms", "five"),
        ("snowpack.deletion-grace-ms", "9223372036854775807"),
        ("gc.enabled", "false"),
        ("gc.enabled", "no"),
    ] {
        let want = format!("table property `{key}` = `{value}`");
        line(&[9, 1]).property(key, value).refused(&want);
    }
    line(&[9, 1]).property("gc.enabled", "TRUE").check(&[1]);
    for key in [
        "min-snapshots-to-keep",
        "max-snapshot-age-ms",
        "max-ref-age-ms",
    ] {
        let case = line(&[9, 1]).branch("b", 1, json!({key: -5}));
        case.refused(&format!("ref `b`: `{key}` = `-5`"));
    }
    let mut v3 = line(&[9, 1]);
    v3.version = 3;
    v3.refused("format version 3");
    let mut ahead = line(&[9, 1]);
    ahead.updated_ms = NOW + 60_000;
    ahead.check(&[1]);
    ahead.updated_ms += 1;
    ahead.refused("the clock says");
    let mut nameless = line(&[9, 1]);
    (nameless.version, nameless.uuid) = (1, "");
    nameless.refused("no uuid");
}

#[test]
fn ages_do_not_overflow() {
    let extreme = case(&[(1, None, NOW), (2, Some(1), i64::MAX / 2), (3, Some(2), 0)]);
    let all = i64::MAX.to_string();
    let old = extreme
        .branch("main", 3, json!({"max-snapshot-age-ms": i64::MAX}))
        .tag("t", 2, json!({"max-ref-age-ms": i64::MAX}))
        .property("history.expire.max-snapshot-age-ms", &all)
        .property("history.expire.max-ref-age-ms", &all);
    old.check(&[]);
    line(&[9, 1]).option("older_than", &i64::MAX).check(&[1]);
}

#[test]
fn a_plan_made_again_only_does_less() {
    let base = line(&[20, 9, 6, 1]).tag("old", 1, json!({"max-ref-age-ms": 1}));
    let plan = base.check(&[1, 2, 3]);
    let again = |case: &Case| {
        let again = plan.again(&case.table(), "file:///t/n.json").unwrap();
        assert_eq!(again.metadata_location, "file:///t/n.json");
        (ids(&again), again.remove_refs)
    };
    let old = || vec!["old".to_owned()];
    assert_eq!(again(&base), (vec![1, 2, 3], old()));
    assert_eq!(
        again(&base.clone().tag("t", 2, json!({}))),
        (vec![1, 3], old())
    );
    assert_eq!(
        again(&base.clone().branch("main", 2, json!({}))),
        (vec![1, 3], old())
    );
    // The ref was moved, and may not have been old since.
    let moved = base.clone().tag("old", 2, json!({"max-ref-age-ms": 1}));
    assert_eq!(again(&moved), (vec![1, 3], vec![]));
    // An old ref that came later was never planned to go.
    let late = base.clone().tag("late", 3, json!({"max-ref-age-ms": 1}));
    assert_eq!(again(&late), (vec![1, 2], old()));
    // A snapshot that grew old meanwhile was not planned to go.
    let mut grown = line(&[20, 9, 6, 6, 0]).tag("old", 1, json!({"max-ref-age-ms": 1}));
    assert_eq!(again(&grown), (vec![1, 2, 3], old()));
    grown.snapshots.remove(0);
    grown.refs.remove("old");
    assert_eq!(again(&grown), (vec![2, 3], vec![]));

    let asked = line(&[3, 2, 1]).option("snapshot_ids", &"1,2");
    let plan = asked.plan().unwrap();
    let tagged = asked.clone().tag("t", 1, json!({}));
    assert_eq!(ids(&plan.again(&tagged.table(), "").unwrap()), [2]);
    let gone = after(&asked.table(), &plan);
    assert!(plan.again(&gone, "").unwrap().changes_nothing());
}

#[test]
fn definitions_go_when_nothing_needs_them() {
    let case = line(&[9, 1]).option("clean_expired_metadata", &true);
    let (table, plan) = (case.table(), case.plan().unwrap());
    assert!(plan.cleans(&table));
    assert!(
        !line(&[9, 1]).plan().unwrap().cleans(&table),
        "nobody asked"
    );
    let clean = |specs: &[i32], delete_files| {
        let specs = specs.iter().copied().collect();
        let plan = plan.clone().clean(
            &table,
            &Needed {
                specs,
                delete_files,
            },
        );
        (plan.remove_specs, plan.remove_schemas)
    };
    // The snapshot that stays is of schema 0.
    assert_eq!(clean(&[], false), (vec![1], vec![1]));
    // Spec 1 reads column 2, which only schema 1 knows; so may equality deletes.
    assert_eq!(clean(&[0, 1], false), (vec![], vec![]));
    assert_eq!(clean(&[0], true), (vec![1], vec![]));
    let mut document = case.document();
    document["snapshots"][1]
        .as_object_mut()
        .unwrap()
        .remove("schema-id");
    let silent = TableMetadata::parse(document.to_string().as_bytes()).unwrap();
    let plan = plan.clone().clean(&silent, &Needed::default());
    assert_eq!((plan.remove_specs, plan.remove_schemas), (vec![1], vec![]));
}

#[test]
fn options_are_read_or_refused_with_the_reason() {
    let parse = |key: &str, value: &str| {
        Options::parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    };
    let time = parse("older_than", "1970-01-02T01:00:00+01:00").unwrap();
    assert_eq!(time.older_than_ms, Some(DAY));
    assert_eq!(parse("older_than", "86400000").unwrap(), time);
    let ids = parse("snapshot_ids", "3, 1,3").unwrap().snapshot_ids;
    assert_eq!(ids, [1, 3].into());
    assert!(
        parse("clean_expired_metadata", "TRUE")
            .unwrap()
            .clean_expired_metadata
    );
    assert_eq!(parse("deletion-grace-ms", "0").unwrap().grace_ms, Some(0));
    for (key, value) in [
        ("older_than", "yesterday"),
        ("older_than", "-1"),
        ("older_than", "2026-01-31"),
        ("retain_last", "0"),
        ("retain_last", "2147483648"),
        ("snapshot_ids", "1,,2"),
        ("snapshot_ids", ""),
        ("clean_expired_metadata", "yes"),
        ("deletion-grace-ms", "-1"),
        ("deletion-grace-ms", "99999999999999"),
    ] {
        let error = parse(key, value).unwrap_err().to_string();
        assert!(
            error.contains(&format!("option `{key}` = `{value}`: must be")),
            "{error}"
        );
    }
    let error = parse("older-than", "1").unwrap_err().to_string();
    assert!(
        error.contains("unknown option `older-than`; allowed: older_than,"),
        "{error}"
    );
}

#[test]
fn of_a_thousand_snapshots_what_two_hundred_refs_name_stays() {
    let ages: Vec<i64> = (0..1_000).rev().collect();
    let mut case = line(&ages);
    for tag in 0..100 {
        case = case.tag(&format!("t{tag}"), tag * 10 + 1, json!({}));
        case = case.branch(&format!("b{tag}"), tag * 10 + 5, json!({}));
    }
    let table = case.table();
    let options = Options::default();
    let plan = plan(&table, "db.t", "", NOW, &[], &options).unwrap();
    assert_eq!(plan.expire.len(), 1_000 - 6 - 200 + 1);
}
