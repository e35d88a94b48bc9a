//! Words the policy shares with crates it must not know.

use std::collections::BTreeMap;

use model::Action;
use planner::Task;
use policy::{Assessment, Decision, Defaults, History, Properties, Recommended, Situation};

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The decision about an enrolled table with `pairs`, for which every built action is recommended.
fn decide(pairs: &[(&str, &str)]) -> Decision {
    let mut table = properties(pairs);
    table.insert("snowpack.maintenance_enabled".to_owned(), "true".to_owned());
    let policy = policy::effective(&Defaults::default(), &Properties::new(), &table);
    assert_eq!(policy.unreadable, [], "{pairs:?}");
    let built = [Action::ExpireSnapshots, Action::RewriteDataFiles];
    let recommended = built.map(|action| Recommended {
        action,
        reasons: vec!["counted".to_owned()],
    });
    let assessment = Assessment {
        score: 50.0,
        terms: Vec::new(),
        needs_maintenance: true,
        recommended: recommended.to_vec(),
    };
    policy::decide(&Situation {
        policy: &policy,
        health: Some((&model::health::Facts::default(), &assessment)),
        history: &History {
            due_deletion_count: 1,
            ..History::default()
        },
        now_ms: 1_795_262_400_000,
    })
}

#[test]
fn m27_the_planner_takes_every_option_the_policy_asks_for() {
    let extremes: &[&[(&str, &str)]] = &[
        &[],
        &[("snowpack.target_file_size_bytes", "1024")],
        &[("snowpack.target_file_size_bytes", "1099511627776")],
        &[("snowpack.min_input_files", "1000000")],
        &[("snowpack.rewrite_data_delete_file_threshold", "1000000")],
        &[("snowpack.rewrite_data_delete_ratio_threshold", "1")],
        &[(
            "snowpack.rewrite_data_delete_ratio_threshold",
            "0.000000000001",
        )],
        &[("snowpack.rewrite_data_rewrite_all", "true")],
        &[("snowpack.partial_progress_max_commits", "1")],
        &[("snowpack.partial_progress_max_commits", "2")],
        &[("snowpack.partial_progress_max_commits", "1000000")],
        &[("snowpack.max_snapshot_age_days", "0")],
        &[("snowpack.max_snapshot_age_days", "36500")],
        &[
            ("write.target-file-size-bytes", "1"),
            ("history.expire.max-snapshot-age-ms", "0"),
        ],
    ];
    for pairs in extremes {
        let Decision::Submit {
            actions, options, ..
        } = decide(pairs)
        else {
            panic!("{pairs:?}: {:?}", decide(pairs));
        };
        let nothing = BTreeMap::new();
        for action in actions.iter().map(|wanted| wanted.action) {
            let asked = options.get(&action).unwrap_or(&nothing);
            let task = Task::parse(action, asked);
            assert!(task.is_ok(), "{pairs:?}: {task:?}");
        }
    }
}

#[test]
fn a_property_the_engine_reads_is_not_called_a_typing_error() {
    let names = [planner::expire::GRACE_KEY, metadata::TARGET_FILE_SIZE_KEY];
    for name in names {
        let table = properties(&[(name, "86400000")]);
        let policy = policy::effective(&Defaults::default(), &Properties::new(), &table);
        assert_eq!(policy.unknown, [], "{name}");
        assert!(policy::steers(name), "{name}");
    }
    let default = Defaults::default().target_file_size_bytes;
    assert_eq!(default, metadata::TARGET_FILE_SIZE_DEFAULT);
}
