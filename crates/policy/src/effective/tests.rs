//! Every property: what it may be, who wins, what is reported.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::property::{PROPERTIES, READ_ELSEWHERE};

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn of(database: &[(&str, &str)], table: &[(&str, &str)]) -> Effective {
    effective(
        &Defaults::default(),
        &properties(database),
        &properties(table),
    )
}

/// The field a property fills, as people see it.
fn shown(policy: &Effective, property: &str) -> Value {
    let field = property.strip_prefix(PREFIX).unwrap_or(property);
    serde_json::to_value(policy).unwrap()[field].clone()
}

/// A property, values it may have as they are read, and values it may not have.
type Case = (&'static str, Vec<(&'static str, Value)>, Vec<&'static str>);

fn cases() -> Vec<Case> {
    [booleans(), counts(), decimals(), others()].concat()
}

fn booleans() -> Vec<Case> {
    [
        property::MAINTENANCE_ENABLED,
        property::COMPACTION_SKIP,
        property::REWRITE_DATA_REWRITE_ALL,
    ]
    .map(|name| {
        let good = vec![
            ("true", json!(true)),
            ("FALSE", json!(false)),
            (" true ", json!(true)),
        ];
        let bad = vec!["", "yes", "1", "on", "truee", "null"];
        (name, good, bad)
    })
    .to_vec()
}

fn counts() -> Vec<Case> {
    [
        property::MIN_INPUT_FILES,
        property::DELETE_FILE_THRESHOLD,
        property::REWRITE_DATA_DELETE_FILE_THRESHOLD,
        property::PARTIAL_PROGRESS_MAX_COMMITS,
    ]
    .map(|name| {
        let good = vec![
            ("1", json!(1)),
            (" 12 ", json!(12)),
            ("1000000", json!(1_000_000)),
        ];
        let bad = vec![
            "",
            "0",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "1000001",
            "4294967297",
            "five",
            "1_000",
            "٣",
        ];
        (name, good, bad)
    })
    .to_vec()
}

fn decimals() -> Vec<Case> {
    vec![
        (
            property::MAINTENANCE_CADENCE_HOURS,
            vec![
                ("0", json!(0.0)),
                ("0.5", json!(0.5)),
                ("87600", json!(87_600.0)),
            ],
            vec![
                "", "-1", "87600.1", "inf", "NaN", "1e2", "6h", ".", "6.", ".5", "1,5",
            ],
        ),
        (
            property::MAX_SNAPSHOT_AGE_DAYS,
            vec![
                ("0", json!(0.0)),
                ("7.25", json!(7.25)),
                ("36500", json!(36_500.0)),
            ],
            vec!["", "-0", "36501", "infinity", "5d"],
        ),
        (
            property::REWRITE_DATA_DELETE_RATIO_THRESHOLD,
            vec![
                ("0.001", json!(0.001)),
                ("1", json!(1.0)),
                ("0.30", json!(0.3)),
            ],
            vec!["", "0", "0.0", "1.01", "10%", "-0.1"],
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        (
            property::TARGET_FILE_SIZE_BYTES,
            vec![
                ("1024", json!(1_024)),
                ("134217728", json!(134_217_728)),
                ("1099511627776", json!(1_099_511_627_776_u64)),
            ],
            vec![
                "",
                "512",
                "1023",
                "1099511627777",
                "128MB",
                "1.5",
                "99999999999999999999",
            ],
        ),
        (
            property::PRIORITY,
            vec![
                ("-3", json!(-3)),
                ("+2", json!(2)),
                ("0", json!(0)),
                ("3", json!(3)),
            ],
            vec!["", "-4", "4", "high", "--1", "1.0"],
        ),
        (
            property::WINDOW,
            vec![
                ("* * * * *", json!("* * * * *")),
                (" *  22-5 * * 1-5 ", json!("* 22-5 * * 1-5")),
            ],
            vec![
                "",
                "* * * *",
                "* * * * * *",
                "60 * * * *",
                "* * 30 2 *",
                "@daily",
                "22-5",
            ],
        ),
    ]
}

#[test]
fn every_property_has_its_cases() {
    let mut tested: Vec<&str> = cases().iter().map(|(name, ..)| *name).collect();
    let mut known: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
    tested.sort_unstable();
    known.sort_unstable();
    assert_eq!(tested, known);
}

#[test]
fn m27_every_value_allowed_is_read_from_the_table_and_from_the_database() {
    for (name, good, _) in cases() {
        for (text, want) in good {
            for (policy, source) in [
                (of(&[], &[(name, text)]), "table"),
                (of(&[(name, text)], &[]), "database"),
            ] {
                assert_eq!(
                    shown(&policy, name),
                    json!({"value": want, "source": source}),
                    "{name}={text}"
                );
                assert_eq!(policy.unreadable, [], "{name}={text}");
                assert_eq!(policy.unknown, [], "{name}={text}");
            }
        }
    }
}

#[test]
fn m27_what_cannot_be_read_is_reported_and_the_next_source_applies() {
    for (name, good, bad) in cases() {
        for text in bad {
            let (next, want) = &good[0];
            let policy = of(&[(name, next)], &[(name, text)]);
            assert_eq!(
                shown(&policy, name),
                json!({"value": want, "source": "database"}),
                "{name}={text}"
            );
            let report = |source| Unreadable {
                property: name.to_owned(),
                value: text.to_owned(),
                allowed: property::allowed(name).to_owned(),
                source,
            };
            assert_eq!(policy.unreadable, [report(Source::Table)]);

            let policy = of(&[(name, text)], &[(name, text)]);
            assert_eq!(
                shown(&policy, name),
                shown(&of(&[], &[]), name),
                "{name}={text}"
            );
            let both = [report(Source::Table), report(Source::Database)];
            assert_eq!(policy.unreadable, both, "{name}={text}");
        }
    }
}

#[test]
fn m27_nothing_said_is_the_defaults() {
    let policy = of(&[], &[]);
    let want = [
        (property::MAINTENANCE_ENABLED, json!(null)),
        (property::COMPACTION_SKIP, json!(false)),
        (property::MAINTENANCE_CADENCE_HOURS, json!(6.0)),
        (property::WINDOW, json!(null)),
        (property::PRIORITY, json!(0)),
        (property::TARGET_FILE_SIZE_BYTES, json!(536_870_912)),
        (property::MIN_INPUT_FILES, json!(5)),
        (property::REWRITE_DATA_DELETE_FILE_THRESHOLD, json!(2)),
        (property::REWRITE_DATA_DELETE_RATIO_THRESHOLD, json!(0.1)),
        (property::REWRITE_DATA_REWRITE_ALL, json!(false)),
        (property::PARTIAL_PROGRESS_MAX_COMMITS, json!(10)),
        (property::MAX_SNAPSHOT_AGE_DAYS, json!(5.0)),
        (property::DELETE_FILE_THRESHOLD, json!(null)),
    ];
    for ((name, value), doc) in want.into_iter().zip(PROPERTIES) {
        assert_eq!(name, doc.name, "in the order of PROPERTIES");
        let shown = shown(&policy, name);
        assert_eq!(
            shown,
            json!({"value": value, "source": "default"}),
            "{name}"
        );
        let number = value.as_f64().map(|number| number.to_string());
        if let Some(number) = number {
            assert!(doc.default.ends_with(&number), "{name}: {}", doc.default);
        }
    }
    assert_eq!((policy.unreadable.len(), policy.unknown.len()), (0, 0));
}

#[test]
fn m27_operators_defaults_apply_where_no_property_does() {
    let defaults = Defaults {
        enrolment: Enrolment::OptOut,
        maintenance_cadence_hours: 1.5,
        target_file_size_bytes: 4_096,
        max_snapshot_age_days: 2.0,
        min_input_files: 3,
        rewrite_data_delete_file_threshold: 7,
        rewrite_data_delete_ratio_threshold: 0.5,
        partial_progress_max_commits: 1,
    };
    let policy = effective(&defaults, &properties(&[]), &properties(&[]));
    assert_eq!(policy.enrolment, Enrolment::OptOut);
    let shown = serde_json::to_value(&policy).unwrap();
    let asked = serde_json::to_value(&defaults).unwrap();
    for (name, value) in asked.as_object().unwrap() {
        if name != "enrolment" {
            assert_eq!(
                shown[name],
                json!({"value": value, "source": "default"}),
                "{name}"
            );
        }
    }
}

#[test]
fn m27_a_tables_own_word_in_icebergs_terms_comes_after_ours_and_before_its_databases() {
    let iceberg = [
        ("write.target-file-size-bytes", "500"),
        ("history.expire.max-snapshot-age-ms", "43200000"),
    ];
    let policy = of(&[], &iceberg);
    assert_eq!(
        (policy.target_file_size_bytes, policy.max_snapshot_age_days),
        (
            Sourced {
                value: 500,
                source: Source::Iceberg
            },
            Sourced {
                value: 0.5,
                source: Source::Iceberg
            }
        )
    );
    // They are a table's; a database's do not reach its tables.
    let policy = of(&iceberg, &[]);
    assert_eq!(policy.target_file_size_bytes.source, Source::Default);
    let ours = [
        ("snowpack.target_file_size_bytes", "2048"),
        ("snowpack.max_snapshot_age_days", "9"),
    ];
    let sources = |policy: &Effective| {
        (
            policy.target_file_size_bytes.source,
            policy.max_snapshot_age_days.source,
        )
    };
    // A platform's longer or shorter age does not undo what the owner asked to keep.
    let policy = of(&ours, &iceberg);
    assert_eq!(sources(&policy), (Source::Iceberg, Source::Iceberg));
    let policy = of(&ours, &[]);
    assert_eq!(sources(&policy), (Source::Database, Source::Database));
    let both: Vec<_> = ours.into_iter().chain(iceberg).collect();
    let policy = of(&[], &both);
    assert_eq!(sources(&policy), (Source::Table, Source::Table));
    let policy = of(&[], &[("write.target-file-size-bytes", "0")]);
    assert_eq!(policy.target_file_size_bytes.source, Source::Default);
    assert_eq!(policy.unreadable[0].source, Source::Iceberg);
    assert_eq!(policy.unreadable[0].allowed, "a whole number above 0");
}

#[test]
fn a_misspelt_property_is_reported_with_the_nearest_name() {
    for (name, nearest) in [
        (
            "snowpack.maintenance-enabled",
            "snowpack.maintenance_enabled",
        ),
        (
            "snowpack.maintenence_cadence_hours",
            "snowpack.maintenance_cadence_hours",
        ),
        ("snowpack.min_input_file", "snowpack.min_input_files"),
        ("snowpack.Window", "snowpack.window"),
        (
            "snowpack.target_file_size",
            "snowpack.target_file_size_bytes",
        ),
        ("snowpack.deletion_grace_ms", "snowpack.deletion-grace-ms"),
    ] {
        let policy = of(&[], &[(name, "1")]);
        let want = Unknown {
            property: name.to_owned(),
            nearest: nearest.to_owned(),
            source: Source::Table,
        };
        assert_eq!(policy.unknown, [want], "{name}");
    }
    let many: Properties = (0..100)
        .map(|number| (format!("snowpack.{number}"), String::new()))
        .collect();
    let policy = effective(&Defaults::default(), &many, &Properties::new());
    assert_eq!(policy.unknown.len(), UNKNOWN_MAX);
    let policy = of(&[("snowpack.windows", "x")], &[]);
    assert_eq!(policy.unknown[0].source, Source::Database);
}

#[test]
fn properties_of_others_are_not_reported() {
    for name in READ_ELSEWHERE
        .iter()
        .chain(&["owner", "snowpackage", "window", "gc.enabled"])
    {
        let policy = of(&[(name, "x")], &[(name, "x")]);
        assert_eq!(policy, of(&[], &[]), "{name}");
    }
}

#[test]
fn what_does_not_steer_changes_nothing() {
    let kept = |name: &str| crate::steers(name);
    assert!(PROPERTIES.iter().all(|property| kept(property.name)));
    assert!(kept("write.target-file-size-bytes") && kept("history.expire.max-snapshot-age-ms"));
    assert!(kept("snowpack.tpyo"), "to be reported");
    assert!(!kept("owner") && !kept("write.format.default"));
}

fn names() -> impl Strategy<Value = String> {
    let known: Vec<String> = PROPERTIES
        .iter()
        .map(|property| property.name.to_owned())
        .chain(
            [
                "write.target-file-size-bytes",
                "history.expire.max-snapshot-age-ms",
            ]
            .map(String::from),
        )
        .collect();
    prop_oneof![
        8 => prop::sample::select(known),
        1 => "snowpack\\.\\PC{0,300}",
        1 => any::<String>(),
    ]
}

fn values() -> impl Strategy<Value = String> {
    let good: Vec<String> = cases()
        .into_iter()
        .flat_map(|(_, good, bad)| good.into_iter().map(|(text, _)| text).chain(bad))
        .map(str::to_owned)
        .collect();
    prop_oneof![
        4 => prop::sample::select(good),
        2 => "[-+0-9.,*/ a-z]{0,12}",
        1 => any::<String>(),
    ]
}

fn some_properties() -> impl Strategy<Value = Properties> {
    prop::collection::btree_map(names(), values(), 0..12)
}

proptest! {
    #[test]
    fn m27_any_properties_make_a_policy_within_bounds(
        database in some_properties(), table in some_properties(),
    ) {
        let policy = effective(&Defaults::default(), &database, &table);
        prop_assert!(property::CADENCE_HOURS.contains(&policy.maintenance_cadence_hours.value));
        prop_assert!(policy.max_snapshot_age_days.value.is_finite());
        prop_assert!(policy.max_snapshot_age_days.value >= 0.0);
        prop_assert!(policy.target_file_size_bytes.value > 0);
        prop_assert!(property::COUNT.contains(&policy.min_input_files.value));
        prop_assert!(property::RATIO.contains(&policy.rewrite_data_delete_ratio_threshold.value));
        prop_assert!(property::PRIORITIES.contains(&policy.priority.value));
        prop_assert_eq!(&policy, &effective(&Defaults::default(), &database, &table));
        for report in &policy.unreadable {
            let written = match report.source {
                Source::Database => &database[&report.property],
                _ => &table[&report.property],
            };
            prop_assert!(written.starts_with(&report.value));
            prop_assert!(report.value.chars().count() <= VALUE_CHARS_MAX);
            prop_assert!(report.allowed != "nothing");
        }
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(serde_json::from_str::<Effective>(&json).unwrap(), policy);
    }

    #[test]
    fn m27_a_valid_table_value_always_wins(
        database in some_properties(), mut table in some_properties(), case in 0..cases().len(),
        which in any::<prop::sample::Index>(),
    ) {
        let (name, good, _) = &cases()[case];
        let (text, want) = which.get(good);
        table.insert((*name).to_owned(), (*text).to_owned());
        let policy = effective(&Defaults::default(), &database, &table);
        prop_assert_eq!(shown(&policy, name), json!({"value": want, "source": "table"}));
    }

    #[test]
    fn m27_what_cannot_be_read_counts_as_not_written(
        database in some_properties(), table in some_properties(),
    ) {
        let mut policy = effective(&Defaults::default(), &database, &table);
        let (mut readable_database, mut readable_table) = (database, table);
        for report in std::mem::take(&mut policy.unreadable) {
            match report.source {
                Source::Database => readable_database.remove(&report.property),
                _ => readable_table.remove(&report.property),
            };
        }
        let again = effective(&Defaults::default(), &readable_database, &readable_table);
        prop_assert_eq!(policy, again);
    }
}
