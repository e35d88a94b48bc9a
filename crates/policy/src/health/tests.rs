//! Each term on its own, and what holds for any facts.

use proptest::prelude::*;

use model::Action;
use model::health::{DeleteStats, Facts, FileStats, ManifestStats, SnapshotStats, Thresholds};

use super::{Assessment, assess};
use crate::{Defaults, Effective, Properties, effective};

fn policy() -> Effective {
    effective(&Defaults::default(), &Properties::new(), &Properties::new())
}

fn healthy() -> Facts {
    Facts {
        format_version: 2,
        metadata_bytes: 20_000,
        file_stats: FileStats {
            total_data_files: 100,
            total_size_bytes: 100 << 29,
            target_file_size_bytes: 1 << 29,
            ..FileStats::default()
        },
        total_records: 1_000_000,
        snapshot_count: 3,
        manifest_count: 1,
        manifest_stats: ManifestStats {
            total_bytes: 40_000,
            small_count: 1,
            ..ManifestStats::default()
        },
        thresholds: Thresholds {
            target_file_size_bytes: 1 << 29,
            min_input_files: 5,
            delete_file_threshold: 2,
            delete_ratio_threshold: 0.1,
        },
        ..Facts::default()
    }
}

fn actions(assessment: &Assessment) -> Vec<Action> {
    assessment.recommended.iter().map(|r| r.action).collect()
}

fn lost(assessment: &Assessment, name: &str) -> f64 {
    let mut terms = assessment.terms.iter();
    terms.find(|term| term.name == name).expect("a term").lost
}

#[test]
fn m27_nothing_is_expired_while_its_age_cannot_be_read() {
    let mut facts = healthy();
    facts.snapshot_stats.expirable_count = 100;
    let of = |name: &str, value: &str| {
        let own = Properties::from([(name.to_owned(), value.to_owned())]);
        let policy = effective(&Defaults::default(), &Properties::new(), &own);
        actions(&assess(&facts, &policy))
    };
    for (name, value, want) in [
        ("snowpack.max_snapshot_age_days", "3", true),
        ("snowpack.max_snapshot_age_days", "30 days", false),
        ("snowpack.max_snapshot_age_days", "never", false),
        ("history.expire.max-snapshot-age-ms", "3000", true),
        ("history.expire.max-snapshot-age-ms", "-1", false),
    ] {
        let found = of(name, value);
        assert_eq!(
            found == [Action::ExpireSnapshots],
            want,
            "{name}={value}: {found:?}"
        );
    }
}

#[test]
fn m22_a_healthy_table_needs_nothing() {
    let found = assess(&healthy(), &policy());
    assert!(found.score > 99.9, "{found:?}");
    assert!(!found.needs_maintenance);
    assert_eq!(actions(&found), []);
}

#[test]
fn m22_each_ill_is_lost_by_one_term_and_mended_by_one_action() {
    type Worsen = fn(&mut Facts);
    let ills: [(&str, Worsen, &[Action]); 8] = [
        (
            "small_files",
            |f| f.file_stats.compactable_file_count = 50,
            &[Action::RewriteDataFiles],
        ),
        ("delete_files", |f| f.file_stats.total_delete_files = 9, &[]),
        (
            "deleted_rows",
            |f| f.delete_stats.position_delete_records = 90_000,
            &[],
        ),
        (
            "small_manifests",
            |f| f.manifest_stats.small_count = 80,
            &[],
        ),
        ("metadata_size", |f| f.metadata_bytes = 9 << 20, &[]),
        (
            "expirable_snapshots",
            |f| f.snapshot_stats.expirable_count = 2,
            &[Action::ExpireSnapshots],
        ),
        (
            "expirable_bytes",
            |f| f.snapshot_stats.expirable_bytes = 1 << 35,
            &[],
        ),
        (
            "old_specs",
            |f| f.manifest_stats.old_spec_file_count = 30,
            &[],
        ),
    ];
    for (name, worsen, wanted) in ills {
        let mut facts = healthy();
        worsen(&mut facts);
        let (before, after) = (assess(&healthy(), &policy()), assess(&facts, &policy()));
        for (old, new) in before.terms.iter().zip(&after.terms) {
            let grew = old.lost < new.lost;
            assert_eq!(grew, new.name == name, "{name} and {}", new.name);
        }
        assert_eq!(actions(&after), wanted, "{name}");
        assert_eq!(after.needs_maintenance, !wanted.is_empty());
    }
}

#[test]
fn m22_small_files_that_cannot_be_combined_are_no_reason() {
    let mut facts = healthy();
    facts.file_stats.small_file_count = 90;
    facts.file_stats.small_file_pct = 90.0;
    let found = assess(&facts, &policy());
    assert_eq!(actions(&found), []);
    let same = found.score - assess(&healthy(), &policy()).score;
    assert!(same.abs() < f64::EPSILON, "{same}");
    assert!(found.terms[0].why.contains("90 small ones are left alone"));
}

#[test]
fn m22_thresholds_are_the_policys() {
    let mut facts = healthy();
    facts.file_stats.compactable_file_count = 5;
    assert_eq!(
        actions(&assess(&facts, &policy())),
        [Action::RewriteDataFiles]
    );
    let mut strict = policy();
    strict.min_input_files.value = 6;
    assert_eq!(actions(&assess(&facts, &strict)), []);
    facts.delete_stats.heavy_file_count = 1;
    let found = assess(&facts, &strict);
    assert_eq!(actions(&found), [Action::RewriteDataFiles]);
    assert_eq!(
        found.recommended[0].reasons,
        [
            "1 data file with at least 2 delete files or 10% of the rows deleted \
             (rewrite_data_delete_file_threshold, rewrite_data_delete_ratio_threshold)"
        ]
    );
}

#[test]
fn m22_recommended_is_what_this_version_can_do_in_canonical_order() {
    let mut facts = healthy();
    facts.file_stats.compactable_file_count = 50;
    facts.snapshot_stats.expirable_count = 2;
    facts.manifest_stats.small_count = 5_000;
    let found = assess(&facts, &policy());
    let all = [
        Action::ExpireSnapshots,
        Action::RewriteDataFiles,
        Action::RewriteManifests,
    ];
    assert_eq!(actions(&found), all);
    facts.manifest_stats.small_count = super::SMALL_MANIFESTS_MIN - 1;
    assert_eq!(actions(&assess(&facts, &policy())), all[..2]);
    facts.manifest_stats.small_count = super::SMALL_MANIFESTS_MIN;
    assert_eq!(actions(&assess(&facts, &policy())), all);
    facts.format_version = 3;
    assert_eq!(actions(&assess(&facts, &policy())), []);
}

/// Every count that is bad to have more of.
const BAD: [fn(&mut Facts) -> &mut u64; 13] = [
    |f| &mut f.metadata_bytes,
    |f| &mut f.snapshot_count,
    |f| &mut f.manifest_count,
    |f| &mut f.file_stats.small_file_count,
    |f| &mut f.file_stats.compactable_file_count,
    |f| &mut f.file_stats.total_delete_files,
    |f| &mut f.delete_stats.position_delete_records,
    |f| &mut f.delete_stats.equality_delete_records,
    |f| &mut f.delete_stats.delete_bytes,
    |f| &mut f.snapshot_stats.expirable_count,
    |f| &mut f.snapshot_stats.expirable_bytes,
    |f| &mut f.manifest_stats.small_count,
    |f| &mut f.manifest_stats.old_spec_file_count,
];

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 0..100_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn facts() -> impl Strategy<Value = Facts> {
    let bad = prop::collection::vec(counts(), BAD.len());
    let neutral = (counts(), counts(), counts(), counts(), 1..4_u8);
    (bad, neutral).prop_map(|(bad, (data_files, bytes, target, records, version))| {
        let mut facts = Facts {
            format_version: version,
            total_records: records,
            file_stats: FileStats {
                total_data_files: data_files,
                total_size_bytes: bytes,
                target_file_size_bytes: target,
                ..FileStats::default()
            },
            delete_stats: DeleteStats::default(),
            snapshot_stats: SnapshotStats::default(),
            ..Facts::default()
        };
        for (field, value) in BAD.iter().zip(bad) {
            *field(&mut facts) = value;
        }
        facts
    })
}

proptest! {
    #[test]
    fn m22_a_score_is_bounded_and_its_lost_points_add_up(facts in facts()) {
        let found = assess(&facts, &policy());
        prop_assert!((0.0..=100.0).contains(&found.score), "{}", found.score);
        let lost: f64 = found.terms.iter().map(|term| term.lost).sum();
        prop_assert!((found.score - (100.0 - lost).max(0.0)).abs() < 0.005);
        for term in &found.terms {
            prop_assert!((0.0..=term.at_most).contains(&term.lost), "{term:?}");
            prop_assert!(!term.why.is_empty());
        }
        prop_assert_eq!(&found, &assess(&facts, &policy()));
        prop_assert!(found.recommended.is_sorted_by_key(|r| r.action));
        prop_assert_eq!(found.needs_maintenance, !found.recommended.is_empty());
    }

    #[test]
    fn m22_more_of_anything_bad_never_raises_the_score(
        facts in facts(), which in 0..BAD.len(), more in counts(),
    ) {
        let mut worse = facts.clone();
        let field = BAD[which](&mut worse);
        *field = field.saturating_add(more);
        let (before, after) = (assess(&facts, &policy()), assess(&worse, &policy()));
        prop_assert!(after.score <= before.score, "{} > {}", after.score, before.score);
        for (old, new) in before.terms.iter().zip(&after.terms) {
            prop_assert!(old.lost <= new.lost, "{old:?} {new:?}");
        }
    }

    #[test]
    fn m22_one_more_small_empty_file_never_raises_the_score(facts in facts()) {
        let mut worse = facts.clone();
        for count in [
            &mut worse.file_stats.total_data_files,
            &mut worse.file_stats.small_file_count,
            &mut worse.file_stats.compactable_file_count,
        ] {
            *count = count.saturating_add(1);
        }
        prop_assert!(assess(&worse, &policy()).score <= assess(&facts, &policy()).score);
    }
}

#[test]
fn m22_all_that_can_go_wrong_leaves_no_points() {
    let mut facts = healthy();
    for field in BAD {
        *field(&mut facts) = u64::MAX;
    }
    let found = assess(&facts, &policy());
    assert!(found.score < 0.01, "{}", found.score);
    assert!(lost(&found, "small_files") > 34.9);
    let most: f64 = found.terms.iter().map(|term| term.at_most).sum();
    assert!((most - 100.0).abs() < f64::EPSILON);
}
