//! Each reason, who goes before whom, and what holds for any table.

use proptest::prelude::*;

use super::*;
use crate::fixtures::{Case, HOUR, NOW_MS, cases, healthy, sick};

#[track_caller]
fn skips(case: &Case, want: Reason, sentence: &str) {
    match case.decide() {
        Decision::Skip { reason, why } => assert_eq!((reason, why.as_str()), (want, sentence)),
        submit @ Decision::Submit { .. } => panic!("{submit:?}, want {want:?}"),
    }
}

#[track_caller]
fn submits(case: &Case, want: &[Action], sentence: &str) {
    match case.decide() {
        Decision::Submit { actions, why, .. } => {
            let actions: Vec<Action> = actions.iter().map(|wanted| wanted.action).collect();
            assert_eq!((actions.as_slice(), why.as_str()), (want, sentence));
        }
        skip @ Decision::Skip { .. } => panic!("{skip:?}, want {want:?}"),
    }
}

const BOTH: [Action; 2] = [Action::ExpireSnapshots, Action::RewriteDataFiles];
const SICK: &str = "health 61 of 100: 100 snapshots may go; 380 small files";

#[test]
fn m25_an_enrolled_unhealthy_due_and_unlocked_table_is_submitted() {
    submits(&sick(), &BOTH, SICK);
    submits(
        &sick().history(|past| past.last_ended_ms = None),
        &BOTH,
        SICK,
    );
    let due = sick().history(|past| past.due_deletion_count = 3);
    let all = [BOTH[0], BOTH[1], Action::PurgePending];
    submits(&due, &all, SICK);
}

#[test]
fn m25_a_locked_table_is_left_alone_and_the_job_named() {
    let case = sick().history(|past| past.locked_by = Some(JobId::new("job-7")));
    skips(&case, Reason::Locked, "job job-7 is at work on it");
}

#[test]
fn m25_a_table_is_due_when_its_cadence_is_over() {
    let ended = |ago: i64| sick().history(|past| past.last_ended_ms = Some(NOW_MS - ago));
    let case = ended(HOUR * 3 / 2).history(|past| past.assessed_at_ms = Some(NOW_MS));
    skips(
        &case,
        Reason::NotDueYet,
        "its last job ended 1.5 h ago; every 6 h (default), so due at 2026-11-21 16:30 UTC",
    );
    submits(&ended(6 * HOUR), &BOTH, SICK);
    skips(
        &case
            .clone()
            .database("snowpack.maintenance_cadence_hours", "72"),
        Reason::NotDueYet,
        "its last job ended 1.5 h ago; every 3 days (database), so due at 2026-11-24 10:30 UTC",
    );
    submits(
        &case.table("snowpack.maintenance_cadence_hours", "1.5"),
        &BOTH,
        SICK,
    );
}

#[test]
fn m25_a_healthy_table_is_left_alone() {
    let mut case = sick();
    case.health.as_mut().unwrap().1 = healthy();
    skips(&case, Reason::Healthy, "health 98 of 100, nothing to do");
    case.health = sick().health;
    case.health.as_mut().unwrap().1.recommended.clear();
    let said = "health 61 of 100, nothing to do; rewrite_data_files loses 30: counted";
    skips(&case, Reason::Healthy, said);
}

#[test]
fn m25_only_what_was_measured_after_the_last_job_counts() {
    let mut case = sick();
    case.history.assessed_at_ms = Some(NOW_MS - 8 * HOUR);
    skips(
        &case,
        Reason::NotAssessed,
        "its health was last measured at 2026-11-21 04:00 UTC, before its last job ended at \
         2026-11-21 05:00 UTC",
    );
    case.health = None;
    skips(&case, Reason::NotAssessed, "its health was never measured");
}

#[test]
fn m26_the_property_has_three_states_and_the_mode_decides_the_third() {
    const NAME: &str = "snowpack.maintenance_enabled";
    let said = |mode, database: Option<&str>, table: Option<&str>| {
        let mut case = sick();
        case.table.clear();
        case.defaults.enrolment = mode;
        if let Some(value) = database {
            case = case.database(NAME, value);
        }
        if let Some(value) = table {
            case = case.table(NAME, value);
        }
        match case.decide() {
            Decision::Submit { .. } => "submit".to_owned(),
            Decision::Skip { reason, why } => {
                assert_eq!(reason, Reason::OptedOut);
                why
            }
        }
    };
    let off = |source: &str| format!("snowpack.maintenance_enabled=false on the {source}");
    let nobody = "snowpack.maintenance_enabled is set on neither table nor database, and \
                  enrolment is opt-in";
    let (on, no) = (Some("true"), Some("false"));
    for (mode, unset) in [(Enrolment::OptIn, nobody), (Enrolment::OptOut, "submit")] {
        assert_eq!(said(mode, None, None), unset, "{mode:?}");
        assert_eq!(said(mode, None, on), "submit", "{mode:?}");
        assert_eq!(said(mode, on, None), "submit", "{mode:?}");
        assert_eq!(said(mode, no, on), "submit", "{mode:?}");
        assert_eq!(said(mode, None, no), off("table"), "{mode:?}");
        assert_eq!(said(mode, no, None), off("database"), "{mode:?}");
        assert_eq!(said(mode, on, no), off("table"), "{mode:?}");
        let unread = said(mode, on, Some("nope"));
        assert_eq!(
            unread,
            "snowpack.maintenance_enabled=`nope` on the table cannot be read (allowed: true or \
             false); left alone until it can"
        );
    }
}

#[test]
fn m26_the_skip_flag_always_wins() {
    let mut case = sick().table("compaction_skip", "true");
    case.defaults.enrolment = Enrolment::OptOut;
    skips(&case, Reason::SkipFlag, "compaction_skip=true on the table");
    let case = sick().database("compaction_skip", "true");
    skips(
        &case,
        Reason::SkipFlag,
        "compaction_skip=true on the database",
    );
    submits(&case.table("compaction_skip", "false"), &BOTH, SICK);
    let case = sick().table("compaction_skip", "yes");
    skips(
        &case,
        Reason::SkipFlag,
        "compaction_skip=`yes` on the table cannot be read (allowed: true or false); left alone \
         until it can",
    );
}

#[test]
fn a_table_whose_jobs_fail_again_and_again_is_left_alone_for_longer_and_longer() {
    let failed = |count, ago: i64| {
        sick().history(|past| {
            past.failures_in_a_row = count;
            past.last_failure_ms = Some(NOW_MS - ago);
        })
    };
    submits(&failed(1, 7 * HOUR), &BOTH, SICK);
    skips(
        &failed(2, 7 * HOUR),
        Reason::Quarantined,
        "its last 2 jobs failed, the last at 2026-11-21 05:00 UTC: left alone for 24 h until \
         2026-11-22 05:00 UTC",
    );
    for (count, hours) in [
        (2, 24),
        (3, 48),
        (4, 96),
        (5, 168),
        (6, 168),
        (u32::MAX, 168),
    ] {
        let last = failed(count, hours * HOUR - 1).decide().word();
        assert_eq!(last, "quarantined", "{count} failures");
        let over = failed(count, hours * HOUR).decide().word();
        assert_eq!(over, "due", "{count} failures");
    }
    // Failed jobs whose own time is gone rest from the last job's end.
    let case = failed(2, 0).history(|past| past.last_failure_ms = None);
    assert_eq!(case.decide().word(), "quarantined");
}

#[test]
fn a_rival_s_table_is_left_alone() {
    skips(
        &sick().rival(5),
        Reason::RivalActive,
        "spark rewrote it 5 h ago (snapshot 7); a table with another maintainer is left alone for \
         24 h",
    );
    submits(&sick().rival(24), &BOTH, SICK);
}

#[test]
fn outside_its_window_the_next_opening_is_named() {
    skips(
        &sick().table("snowpack.window", "* 22-5 * * 1-5"),
        Reason::OutsideWindow,
        "outside its window `* 22-5 * * 1-5` (table), which opens at 2026-11-23 00:00 UTC",
    );
    submits(&sick().table("snowpack.window", "* 12 * * 6"), &BOTH, SICK);
    let unread = "snowpack.window=`22:00-05:00` on the table cannot be read (allowed: five cron \
                  fields (minute hour day-of-month month day-of-week, UTC), as in `* 22-5 * * \
                  1-5`); left alone until it can";
    let case = sick().table("snowpack.window", "22:00-05:00");
    skips(&case, Reason::OutsideWindow, unread);
    let open = case.database("snowpack.window", "* * * * *");
    skips(&open, Reason::OutsideWindow, unread);
}

#[test]
fn what_is_due_for_deletion_goes_alone_without_regard_to_cadence_and_health() {
    let due = |case: Case| case.history(|past| past.due_deletion_count = 1);
    let alone = [Action::PurgePending];
    let mut case = due(sick());
    case.health.as_mut().unwrap().1 = healthy();
    let said =
        "1 file whose deletion is due; nothing else for now: health 98 of 100, nothing to do";
    submits(&case, &alone, said);
    case.health = None;
    let said = "1 file whose deletion is due; nothing else for now: its health was never measured";
    submits(&case, &alone, said);
    let rival = due(sick().rival(1));
    assert_eq!(rival.decide().word(), "due");
    let early = due(sick().table("snowpack.maintenance_cadence_hours", "8"));
    assert_eq!(early.decide().word(), "due");

    let barred = due(sick().table("compaction_skip", "true"));
    let said = "compaction_skip=true on the table; meanwhile waits: 1 file whose deletion is due";
    skips(&barred, Reason::SkipFlag, said);
    let closed = due(sick().table("snowpack.window", "* 2 * * *"));
    assert_eq!(closed.decide().word(), "outside_window");
}

/// A reason, and what takes it away.
type Cure = (Reason, fn(&mut Case));

/// Everything wrong at once; each cure shows the next reason.
#[test]
fn reasons_come_in_one_order() {
    let mut case = sick()
        .table("compaction_skip", "true")
        .table("snowpack.maintenance_enabled", "false")
        .table("snowpack.window", "* 2 * * *")
        .rival(1)
        .history(|past| {
            past.locked_by = Some(JobId::new("job"));
            past.failures_in_a_row = 3;
            past.last_failure_ms = Some(NOW_MS - HOUR);
            past.last_ended_ms = Some(NOW_MS - HOUR);
            past.assessed_at_ms = Some(NOW_MS - 7 * HOUR);
        });
    case.health.as_mut().unwrap().1 = healthy();
    let cures: [Cure; 9] = [
        (Reason::SkipFlag, |case| {
            case.table.remove("compaction_skip");
        }),
        (Reason::OptedOut, |case| {
            let name = "snowpack.maintenance_enabled".to_owned();
            case.table.insert(name, "true".to_owned());
        }),
        (Reason::Locked, |case| case.history.locked_by = None),
        (Reason::Quarantined, |case| {
            case.history.failures_in_a_row = 0;
        }),
        (Reason::OutsideWindow, |case| {
            case.table.remove("snowpack.window");
        }),
        (Reason::NotDueYet, |case| {
            case.history.last_ended_ms = Some(NOW_MS - 6 * HOUR);
        }),
        (Reason::NotAssessed, |case| {
            case.history.assessed_at_ms = Some(NOW_MS);
        }),
        (Reason::RivalActive, |case| {
            case.health.as_mut().unwrap().0.rival = None;
        }),
        (Reason::Healthy, |case| case.health = sick().health),
    ];
    for (reason, cure) in cures {
        assert_eq!(case.decide().word(), reason.as_str());
        cure(&mut case);
    }
    assert_eq!(case.decide().word(), "due");
}

#[test]
fn reasons_have_one_name_everywhere() {
    for reason in Reason::ALL {
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(json, format!("\"{}\"", reason.as_str()));
    }
}

fn options(case: &Case) -> Options {
    match case.decide() {
        Decision::Submit { options, .. } => options,
        skip @ Decision::Skip { .. } => panic!("{skip:?}"),
    }
}

#[test]
fn m27_a_job_carries_what_the_policy_asks_of_each_action() {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let defaults = [
        ("target-file-size-bytes", "536870912"),
        ("min-input-files", "5"),
        ("delete-file-threshold", "2"),
        ("delete-ratio-threshold", "0.1"),
        ("remove-dangling-deletes", "true"),
        ("partial-progress.enabled", "true"),
        ("partial-progress.max-commits", "10"),
        ("partial-progress.max-failed-commits", "9"),
    ];
    // Five days before now.
    let expiry = [("older_than", "1794830400000")];
    let want: Options = [
        (Action::ExpireSnapshots, text(&expiry)),
        (Action::RewriteDataFiles, text(&defaults)),
    ]
    .into();
    assert_eq!(
        options(&sick().history(|past| past.due_deletion_count = 1)),
        want
    );

    let case = sick()
        .table("snowpack.min_input_files", "2")
        .table("snowpack.rewrite_data_rewrite_all", "true")
        .table("snowpack.partial_progress_max_commits", "1")
        .table("write.target-file-size-bytes", "1000000")
        .table("history.expire.max-snapshot-age-ms", "1000");
    let asked = [
        ("min-input-files", "2"),
        ("delete-file-threshold", "2"),
        ("delete-ratio-threshold", "0.1"),
        ("remove-dangling-deletes", "true"),
        ("rewrite-all", "true"),
    ];
    let want: Options = [(Action::RewriteDataFiles, text(&asked))].into();
    assert_eq!(
        options(&case),
        want,
        "the engine reads the rest from the table itself"
    );
}

proptest! {
    #[test]
    fn m25_m26_nothing_is_submitted_that_must_not_be(case in cases()) {
        let policy = case.policy();
        let Decision::Submit { actions, .. } = case.decide() else {
            return Ok(());
        };
        prop_assert!(!policy.compaction_skip.value);
        let enrolled = match policy.maintenance_enabled.value {
            Some(said) => said,
            None => policy.enrolment == Enrolment::OptOut,
        };
        prop_assert!(enrolled);
        prop_assert!(case.history.locked_by.is_none());
        let window = policy.window.value;
        prop_assert!(window.is_none_or(|window| window.is_open(case.now_ms)));
        if let (2.., Some(failed_ms)) = (case.history.failures_in_a_row, case.history.last_failure_ms) {
            prop_assert!(case.now_ms - failed_ms >= 24 * HOUR);
        }
        let only_purge = actions.iter().all(|wanted| wanted.action == Action::PurgePending);
        if !only_purge {
            let (facts, assessment) = case.health.as_ref().unwrap();
            prop_assert!(assessment.needs_maintenance);
            prop_assert!(facts.rival.as_ref().is_none_or(|rival| NOW_MS - rival.at_ms >= 24 * HOUR));
            let due_ms = case.history.last_ended_ms.map_or(i64::MIN, |ended_ms| {
                ended_ms + (policy.maintenance_cadence_hours.value * HOUR_MS) as i64
            });
            prop_assert!(due_ms <= NOW_MS);
        }
    }

    #[test]
    fn every_decision_says_why_and_is_the_same_again(case in cases()) {
        let decision = case.decide();
        prop_assert!(!decision.why().is_empty());
        prop_assert_eq!(&decision, &case.decide());
        if let Decision::Submit { actions, options, .. } = decision {
            let order: Vec<Action> = actions.iter().map(|wanted| wanted.action).collect();
            prop_assert!(!order.is_empty());
            prop_assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
            prop_assert!(actions.iter().all(|wanted| !wanted.reasons.is_empty()));
            prop_assert!(options.keys().all(|action| order.contains(action)));
        }
    }

    #[test]
    fn what_is_due_stays_due(case in cases(), later in 0_i64..1_000 * HOUR) {
        let mut waits = case;
        waits.table.remove("snowpack.window");
        waits.database.remove("snowpack.window");
        if waits.decide().word() == "due" {
            waits.now_ms += later;
            prop_assert_eq!(waits.decide().word(), "due");
        }
    }

    #[test]
    fn due_deletions_never_keep_a_table_from_its_job(case in cases(), count in 1_u64..9) {
        let mut none = case;
        none.history.due_deletion_count = 0;
        let mut some = none.clone();
        some.history.due_deletion_count = count;
        match (none.decide(), some.decide()) {
            (Decision::Submit { actions, .. }, Decision::Submit { actions: more, .. }) => {
                prop_assert_eq!(actions.as_slice(), &more[..actions.len()]);
                prop_assert_eq!(more[actions.len()].action, Action::PurgePending);
            }
            (Decision::Submit { .. }, skip @ Decision::Skip { .. }) => {
                prop_assert!(false, "{skip:?}");
            }
            (Decision::Skip { .. }, _) => {}
        }
    }

    #[test]
    fn more_failures_never_shorten_the_pause(case in cases(), more in 1_u32..9) {
        let mut worse = case.clone();
        worse.history.failures_in_a_row += more;
        if case.decide().word() == "quarantined" {
            prop_assert_eq!(worse.decide().word(), "quarantined");
        }
    }

    #[test]
    fn only_differences_of_times_count(case in cases(), weeks in -1_000_i64..1_000) {
        let shift = weeks * 7 * 24 * HOUR;
        let mut moved = case.clone();
        moved.now_ms += shift;
        let past = &mut moved.history;
        for at in [
            &mut past.last_ended_ms,
            &mut past.last_completed_ms,
            &mut past.last_failure_ms,
            &mut past.assessed_at_ms,
        ] {
            *at = at.map(|ms| ms + shift);
        }
        if let Some(rival) = moved.health.as_mut().and_then(|(facts, _)| facts.rival.as_mut()) {
            rival.at_ms += shift;
        }
        prop_assert_eq!(case.decide().word(), moved.decide().word());
    }

    #[test]
    fn any_time_at_all_makes_a_decision(
        case in cases(), now_ms: i64, ended: Option<i64>, failed: Option<i64>, rival_ms: i64,
    ) {
        let mut case = case.rival(0);
        case.now_ms = now_ms;
        case.history.last_ended_ms = ended;
        case.history.last_failure_ms = failed;
        if let Some((facts, _)) = &mut case.health {
            facts.rival.as_mut().unwrap().at_ms = rival_ms;
        }
        prop_assert!(!case.decide().why().is_empty());
    }
}
