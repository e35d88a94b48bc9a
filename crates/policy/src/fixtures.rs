//! A table to decide about, made to order.

use model::Action;
use model::health::{DeleteStats, Facts, FileStats, Rival, SnapshotStats};
use proptest::prelude::*;

use crate::decide::{Decision, History, Situation, decide};
use crate::effective::{Defaults, Effective, Enrolment, Properties, effective};
use crate::health::{Assessment, Recommended, Term};

/// 2026-11-21T12:00:00Z, a Saturday.
pub(crate) const NOW_MS: i64 = 1_795_262_400_000;
pub(crate) const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) defaults: Defaults,
    pub(crate) database: Properties,
    pub(crate) table: Properties,
    pub(crate) health: Option<(Facts, Assessment)>,
    pub(crate) history: History,
    pub(crate) now_ms: i64,
}

/// Enrolled, unhealthy, due.
pub(crate) fn sick() -> Case {
    Case {
        defaults: Defaults::default(),
        database: Properties::new(),
        table: [("snowpack.maintenance_enabled".into(), "true".into())].into(),
        health: Some((facts(), unhealthy())),
        history: History {
            last_ended_ms: Some(NOW_MS - 7 * HOUR),
            last_completed_ms: Some(NOW_MS - 7 * HOUR),
            assessed_at_ms: Some(NOW_MS - HOUR),
            ..History::default()
        },
        now_ms: NOW_MS,
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        file_stats: FileStats {
            total_data_files: 400,
            total_size_bytes: 4_000_000_000,
            avg_file_size_bytes: 10_000_000,
            small_file_count: 390,
            compactable_file_count: 380,
            compactable_bytes: 1_000_000_000,
            ..FileStats::default()
        },
        snapshot_stats: SnapshotStats {
            expirable_count: 100,
            ..SnapshotStats::default()
        },
        delete_stats: DeleteStats::default(),
        ..Facts::default()
    }
}

fn recommended(action: Action, reason: &str) -> Recommended {
    Recommended {
        action,
        reasons: vec![reason.to_owned()],
    }
}

fn term(action: Action, lost: f64) -> Term {
    Term {
        name: action.to_string(),
        lost,
        at_most: 40.0,
        action,
        why: "counted".to_owned(),
    }
}

pub(crate) fn unhealthy() -> Assessment {
    Assessment {
        score: 61.4,
        terms: vec![
            term(Action::RewriteDataFiles, 30.0),
            term(Action::ExpireSnapshots, 8.6),
            term(Action::RewriteManifests, 0.0),
        ],
        needs_maintenance: true,
        recommended: vec![
            recommended(Action::ExpireSnapshots, "100 snapshots may go"),
            recommended(Action::RewriteDataFiles, "380 small files"),
        ],
    }
}

pub(crate) fn healthy() -> Assessment {
    Assessment {
        score: 97.6,
        terms: Vec::new(),
        needs_maintenance: false,
        recommended: Vec::new(),
    }
}

impl Case {
    pub(crate) fn table(mut self, name: &str, value: &str) -> Self {
        self.table.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn database(mut self, name: &str, value: &str) -> Self {
        self.database.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn history(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.history);
        self
    }

    pub(crate) fn rival(mut self, hours_ago: i64) -> Self {
        if let Some((facts, _)) = &mut self.health {
            facts.rival = Some(Rival {
                name: "spark".to_owned(),
                snapshot_id: 7,
                at_ms: self.now_ms - hours_ago * HOUR,
            });
        }
        self
    }

    pub(crate) fn policy(&self) -> Effective {
        effective(&self.defaults, &self.database, &self.table)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        let policy = self.policy();
        look(&Situation {
            policy: &policy,
            health: self.health.as_ref().map(|(facts, found)| (facts, found)),
            history: &self.history,
            now_ms: self.now_ms,
        })
    }

    pub(crate) fn decide(&self) -> Decision {
        self.with(decide)
    }
}

fn past() -> impl Strategy<Value = Option<i64>> {
    prop::option::of((0_i64..400 * HOUR).prop_map(|ago| NOW_MS - ago))
}

fn histories() -> impl Strategy<Value = History> {
    (
        past(),
        past(),
        0_u32..8,
        past(),
        prop::option::weighted(0.1, Just(model::JobId::new("live"))),
        prop_oneof![3 => Just(0_u64), 1 => 1_u64..1_000],
        past(),
        past(),
    )
        .prop_map(
            |(ended, completed, failures, failure, locked, due, assessed, put_off)| History {
                last_ended_ms: ended,
                last_completed_ms: completed,
                failures_in_a_row: failures,
                last_failure_ms: failure,
                locked_by: locked,
                due_deletion_count: due,
                assessed_at_ms: assessed,
                put_off_since_ms: put_off,
            },
        )
}

fn switches() -> impl Strategy<Value = Properties> {
    let one = prop_oneof![
        3 => Just(("snowpack.maintenance_enabled", "true")),
        1 => Just(("snowpack.maintenance_enabled", "false")),
        1 => Just(("snowpack.maintenance_enabled", "nope")),
        1 => Just(("compaction_skip", "true")),
        1 => Just(("compaction_skip", "yes")),
        1 => Just(("compaction_skip", "false")),
        1 => Just(("snowpack.window", "* 11-13 * * *")),
        1 => Just(("snowpack.window", "* 2 * * *")),
        1 => Just(("snowpack.maintenance_cadence_hours", "0")),
        1 => Just(("snowpack.maintenance_cadence_hours", "100")),
        1 => Just(("history.expire.max-snapshot-age-ms", "1000")),
    ];
    prop::collection::vec(one, 0..4).prop_map(|pairs| {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        pairs.into_iter().map(owned).collect()
    })
}

/// Any table: most of what can be said of one, often at odds.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let health = prop_oneof![
        Just(None),
        Just(Some((facts(), healthy()))),
        Just(Some((facts(), unhealthy()))),
        Just(Some((facts(), unhealthy()))),
    ];
    let enrolment = prop_oneof![Just(Enrolment::OptIn), Just(Enrolment::OptOut)];
    let rival = prop::option::weighted(0.3, 0_i64..60);
    (
        switches(),
        switches(),
        health,
        histories(),
        enrolment,
        rival,
    )
        .prop_map(|(database, table, health, history, enrolment, rival)| {
            let case = Case {
                defaults: Defaults {
                    enrolment,
                    ..Defaults::default()
                },
                database,
                table,
                health,
                history,
                now_ms: NOW_MS,
            };
            match rival {
                Some(hours_ago) => case.rival(hours_ago),
                None => case,
            }
        })
}
