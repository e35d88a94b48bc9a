//! Who is maintained, who is not, and that both are recorded.

use std::time::Duration;

use maintenance::runs::{Choice, Status};
use maintenance::{jobs, settings as drain_mode};
use model::{Action, JobStatus};
use policy::Enrolment;
use queue::End;

use crate::fleet::{Fleet, failed, healthy, neglected, rewrite, rivalled, settings};

/// A table for every reason there is to leave one alone, and one to maintain.
async fn every_kind() -> Fleet {
    let mut fleet = Fleet::new().await;
    let now_ms = drain_mode::now_ms(&fleet.client).await.unwrap();
    let no = [("snowpack.maintenance_enabled", "false")];
    let flag = [("compaction_skip", "true")];
    let every_run = [("snowpack.maintenance_cadence_hours", "0")];
    // An hour of today that is over, or not yet begun.
    let hour = (now_ms / 3_600_000 + 12) % 24;
    let window = format!("* {hour} * * *");
    let window = [("snowpack.window", window.as_str())];
    for (name, own, facts) in [
        ("db.due", &[][..], Some(neglected())),
        ("db.failing", &[], None),
        ("db.flagged", &flag, Some(neglected())),
        ("db.healthy", &[], Some(healthy())),
        ("db.later", &window, Some(neglected())),
        ("db.locked", &[], Some(neglected())),
        ("db.measured_before", &every_run, Some(neglected())),
        ("db.opted_out", &no, Some(neglected())),
        ("db.recent", &[], None),
        ("db.rivalled", &[], Some(rivalled(now_ms))),
        ("db.unmeasured", &[], None),
    ] {
        fleet.cached(name, own, &[]).await;
        if let Some(facts) = facts {
            fleet.assessed(name, facts).await;
        }
    }
    for (name, end) in [
        ("db.recent", End::completed()),
        ("db.failing", failed()),
        ("db.failing", failed()),
        ("db.measured_before", End::completed()),
    ] {
        let job = fleet.submit(name).await;
        fleet.end(&job, &end).await;
    }
    fleet.assessed("db.recent", neglected()).await;
    fleet.assessed("db.failing", neglected()).await;
    fleet.submit("db.locked").await;
    fleet
}

#[tokio::test]
async fn m25_jobs_are_submitted_for_enrolled_unhealthy_due_unlocked_tables_only() {
    let fleet = every_kind().await;
    let run = fleet.completed(&settings()).await;
    assert_eq!(
        fleet.told(&run).await,
        [
            "db.due due",
            "db.failing quarantined",
            "db.flagged skip_flag",
            "db.healthy healthy",
            "db.later outside_window",
            "db.locked locked",
            "db.measured_before not_assessed",
            "db.opted_out opted_out",
            "db.recent not_due_yet",
            "db.rivalled rival_active",
            "db.unmeasured not_assessed",
        ]
    );
    let counts = run.counts;
    assert_eq!((counts.tables_assessed, counts.tables_healthy), (11, 1));
    assert_eq!((counts.tables_skipped, counts.jobs_submitted), (9, 1));
    for decided in fleet.decisions(run.id).await {
        assert!(!decided.why.is_empty(), "{decided:?}");
        assert_eq!(
            decided.job.is_some(),
            decided.choice == Choice::Submit,
            "{decided:?}"
        );
    }
}

#[tokio::test]
async fn m25_a_job_carries_what_the_policy_decided() {
    let fleet = Fleet::new().await;
    let own = [
        ("snowpack.min_input_files", "7"),
        ("snowpack.priority", "-2"),
    ];
    fleet.cached("db.t", &own, &[]).await;
    fleet.assessed("db.t", neglected()).await;
    let run = fleet.completed(&settings()).await;
    let id = fleet.job(&run, "db.t").await.unwrap();
    let job = jobs::get(&fleet.client, &id).await.unwrap().unwrap();
    assert_eq!(job.actions, rewrite());
    assert_eq!(
        job.options[&Action::RewriteDataFiles]["min-input-files"],
        "7"
    );
    assert_eq!(job.queue.unwrap().priority, -2);
    assert_eq!(
        (job.submitted_by.as_str(), job.trace_context, job.dry_run),
        ("orchestrator", None, false)
    );
    assert_eq!(job.status, JobStatus::Pending);
    let decided = &fleet.decisions(run.id).await[0];
    assert_eq!(decided.actions, ["rewrite_data_files"]);
    assert!(
        decided.why.contains("900 of 1,000 data files are small"),
        "{}",
        decided.why
    );
    assert!(decided.score.unwrap() < 100.0);
}

#[tokio::test]
async fn m26_enrolment_is_table_over_database_over_mode_and_the_skip_flag_wins() {
    let fleet = Fleet::new().await;
    let enabled = |value: Option<&'static str>| -> Vec<(&str, &str)> {
        value
            .map(|value| ("snowpack.maintenance_enabled", value))
            .into_iter()
            .collect()
    };
    let states = [None, Some("true"), Some("false"), Some("perhaps")];
    let name = |state: Option<&str>| state.unwrap_or("unset").to_owned();
    for own in states {
        for database in states {
            for flagged in [false, true] {
                let mut properties = enabled(own);
                if flagged {
                    properties.push(("compaction_skip", "true"));
                }
                let table = format!("db.{}_{}_{flagged}", name(own), name(database));
                fleet.cached(&table, &properties, &enabled(database)).await;
                fleet.assessed(&table, neglected()).await;
            }
        }
    }
    for enrolment in [Enrolment::OptIn, Enrolment::OptOut] {
        let mut settings = settings();
        settings.defaults.enrolment = enrolment;
        settings.dry_run = true;
        let run = fleet.completed(&settings).await;
        for decided in fleet.decisions(run.id).await {
            let mut parts = decided.table.split('_');
            let (own, database, flagged) = (
                parts.next().unwrap(),
                parts.next().unwrap(),
                parts.next().unwrap(),
            );
            let want = match (flagged, own, database) {
                ("true", _, _) => "skip_flag",
                (_, "true", _) | (_, "unset", "true") => "due",
                (_, "unset", "unset") if enrolment == Enrolment::OptOut => "due",
                // Nobody guesses what an owner meant who wrote `perhaps`.
                _ => "opted_out",
            };
            assert_eq!(decided.reason, want, "{enrolment:?}: {decided:?}");
        }
    }
}

#[tokio::test]
async fn m27_a_tables_cadence_and_thresholds_win_over_the_defaults() {
    let mut fleet = Fleet::new().await;
    for (name, own, database) in [
        ("db.by_default", &[][..], &[][..]),
        (
            "db.by_table",
            &[("snowpack.maintenance_cadence_hours", "2")][..],
            &[][..],
        ),
        (
            "db.by_database",
            &[][..],
            &[("snowpack.maintenance_cadence_hours", "2")][..],
        ),
        (
            "db.picky",
            &[
                ("snowpack.min_input_files", "5000"),
                ("snowpack.maintenance_cadence_hours", "2"),
            ][..],
            &[][..],
        ),
    ] {
        fleet.cached(name, own, database).await;
        fleet.assessed(name, neglected()).await;
    }
    let first = fleet.completed(&settings()).await;
    assert_eq!(first.counts.jobs_submitted, 3);
    for name in ["db.by_default", "db.by_table", "db.by_database"] {
        let job = fleet.job(&first, name).await.unwrap();
        fleet.end(&job, &End::completed()).await;
    }
    fleet.hours_pass(3).await;
    let second = fleet.completed(&settings()).await;
    assert_eq!(
        fleet.told(&second).await,
        [
            "db.by_database due",
            "db.by_default not_due_yet",
            "db.by_table due",
            "db.picky healthy"
        ]
    );
}

#[tokio::test]
async fn m25_due_deletions_are_purged_whatever_the_tables_health() {
    let fleet = Fleet::new().await;
    fleet.cached("db.healthy", &[], &[]).await;
    fleet.assessed("db.healthy", healthy()).await;
    fleet.cached("db.unmeasured", &[], &[]).await;
    fleet.sick("db.sick").await;
    fleet
        .cached("db.flagged", &[("compaction_skip", "true")], &[])
        .await;
    for name in ["db.healthy", "db.unmeasured", "db.sick", "db.flagged"] {
        fleet.due_deletion(name).await;
    }
    let run = fleet.completed(&settings()).await;
    let told: Vec<(String, Vec<String>)> = fleet
        .decisions(run.id)
        .await
        .into_iter()
        .map(|one| (one.table, one.actions))
        .collect();
    let want = |table: &str, actions: &[&str]| {
        (
            table.to_owned(),
            actions.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        told,
        [
            want("flagged", &[]),
            want("healthy", &["purge_pending"]),
            want("sick", &["rewrite_data_files", "purge_pending"]),
            want("unmeasured", &["purge_pending"]),
        ]
    );
}

#[tokio::test]
async fn m25_a_budget_grants_the_neediest_and_says_why_others_wait() {
    let fleet = Fleet::new().await;
    for (name, files) in [
        ("db.a", 300),
        ("db.b", 1_000),
        ("db.c", 600),
        ("other.d", 20),
    ] {
        fleet.cached(name, &[], &[]).await;
        let mut facts = neglected();
        facts.file_stats.compactable_file_count = files;
        fleet.assessed(name, facts).await;
    }
    let mut settings = settings();
    settings.budget.jobs_max = Some(2);
    let first = fleet.completed(&settings).await;
    let told = fleet.told(&first).await;
    assert_eq!(
        told.iter().filter(|line| line.ends_with(" due")).count(),
        2,
        "{told:?}"
    );
    assert_eq!(
        told.iter()
            .filter(|line| line.ends_with(" over_budget"))
            .count(),
        2,
        "{told:?}"
    );
    assert_eq!(first.counts.tables_skipped, 2);
    let second = fleet.completed(&settings).await;
    assert_eq!(
        second.counts.jobs_submitted,
        2,
        "{:?}",
        fleet.told(&second).await
    );
    fleet.assert_one_live_job_each().await;

    let fleet = Fleet::new().await;
    fleet.many_sick(10).await;
    settings.budget = policy::Budget {
        running_max: Some(4),
        ..policy::Budget::default()
    };
    assert_eq!(fleet.completed(&settings).await.counts.jobs_submitted, 4);
    assert_eq!(
        fleet.completed(&settings).await.counts.jobs_submitted,
        0,
        "four are live"
    );
}

#[tokio::test]
async fn m25_a_table_that_fails_every_time_is_quarantined_and_others_go_on() {
    let mut fleet = Fleet::new().await;
    fleet.sick("db.bad").await;
    fleet.sick("db.good").await;
    let (mut tried, mut good) = (0, 0);
    // Every seven hours for two weeks.
    for round in 0..48 {
        let run = fleet.completed(&settings()).await;
        if let Some(job) = fleet.job(&run, "db.bad").await {
            tried += 1;
            fleet.end(&job, &failed()).await;
            fleet.assessed("db.bad", neglected()).await;
        }
        let job = fleet.job(&run, "db.good").await;
        let job = job.unwrap_or_else(|| panic!("round {round}: {run:?}"));
        good += 1;
        fleet.end(&job, &End::completed()).await;
        fleet.assessed("db.good", neglected()).await;
        fleet.hours_pass(7).await;
    }
    assert_eq!(good, 48);
    assert!((3..=7).contains(&tried), "{tried} tries in two weeks");
}

#[tokio::test]
async fn m28_a_dry_run_decides_and_records_and_changes_nothing() {
    let fleet = Fleet::new().await;
    fleet.many_sick(3).await;
    fleet.cached("db.healthy", &[], &[]).await;
    fleet.assessed("db.healthy", healthy()).await;
    let mut dry = settings();
    dry.dry_run = true;
    let run = fleet.completed(&dry).await;
    assert!(run.dry_run);
    assert_eq!(
        fleet.told(&run).await,
        ["db.healthy healthy", "db.t0 due", "db.t1 due", "db.t2 due"]
    );
    assert_eq!(
        (run.counts.tables_assessed, run.counts.jobs_submitted),
        (4, 0)
    );
    for empty in ["jobs", "job_queue", "table_locks"] {
        assert_eq!(
            fleet
                .count(&format!("select count(*) from snowpack.{empty}"))
                .await,
            0,
            "{empty}"
        );
    }
    let real = fleet.completed(&settings()).await;
    assert_eq!(
        real.counts.jobs_submitted, 3,
        "a dry run leaves no trace that decides"
    );
}

#[tokio::test]
async fn m28_a_run_that_waits_counts_how_its_jobs_ended() {
    let mut fleet = Fleet::new().await;
    fleet.many_sick(3).await;
    let mut waiting = settings();
    waiting.wait = Some(Duration::from_mins(2));
    let pool = fleet.pool.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let run = tokio::spawn(async move {
        steward::orchestrate::once(&pool, &waiting, &stop)
            .await
            .unwrap()
    });
    testkit::until("three jobs are submitted", async || {
        fleet.count("select count(*) from snowpack.jobs").await == 3
    })
    .await;
    let filter = jobs::Filter {
        limit: 3,
        ..jobs::Filter::default()
    };
    let page = jobs::list(&fleet.client, &filter);
    let ids: Vec<_> = page.await.unwrap().into_iter().map(|job| job.id).collect();
    for (id, end) in ids
        .iter()
        .zip([End::completed(), failed(), End::completed()])
    {
        assert!(!run.is_finished(), "it waits for all of them");
        fleet.end(id, &end).await;
    }
    let run = run.await.unwrap();
    assert_eq!(run.status, Status::Completed);
    assert_eq!((run.counts.jobs_completed, run.counts.jobs_failed), (2, 1));
    assert_eq!(run.note, None);

    fleet.hours_pass(24).await;
    fleet.sick("db.other").await;
    let mut hasty = settings();
    hasty.wait = Some(Duration::from_millis(1));
    let run = fleet.completed(&hasty).await;
    let note = run.note.unwrap();
    assert!(note.ends_with("of its jobs had not ended"), "{note}");
}

#[tokio::test]
async fn m25_what_cannot_be_read_is_said_and_stops_nobody_else() {
    let fleet = Fleet::new().await;
    fleet.sick("db.good").await;
    fleet.sick("db.odd_policy").await;
    fleet.sick("gone.t").await;
    fleet.sick("db.other_shape").await;
    fleet.sick("db.unread_since").await;
    fleet
        .sql(
            "update snowpack.table_cache_entries set payload = payload || \
             '{\"properties\": {\"snowpack.maintenance_cadence_hours\": \"often\"}}' \
             where table_name = 'odd_policy'; \
             update snowpack.table_cache_entries set payload = payload || '{\"error\": \"timeout\"}' \
             where table_name = 'unread_since'; \
             update snowpack.table_cache_meta set failed_namespaces = jsonb_build_array( \
             jsonb_build_object('namespace', 'gone', 'error', 'timeout', 'since', now() - interval '2 h')); \
             update snowpack.table_health set payload = '{\"of\": \"another version\"}' \
             where table_name = 'other_shape'; \
             insert into snowpack.table_cache_entries (database_name, table_name, payload) values \
             ('db', 'broken', '{\"properties\": 7}'), ('db', '', '{}'), ('db', 'null', null), \
             ('a\"b', 'quote', '{}'), \
             ('db', 'never_read', '{\"error\": \"access denied\"}')",
        )
        .await;
    let run = fleet.completed(&settings()).await;
    assert_eq!(
        fleet.told(&run).await,
        [
            "a\"b.quote unreadable",
            "db. unreadable",
            "db.broken unreadable",
            "db.good due",
            "db.never_read unreadable",
            "db.null not_assessed",
            "db.odd_policy due",
            "db.other_shape not_assessed",
            "db.unread_since unreadable",
            "gone.t stale",
        ]
    );
}

#[tokio::test]
async fn m25_a_table_made_again_under_its_name_is_not_judged_by_the_old_ones_health() {
    let fleet = Fleet::new().await;
    fleet.sick("db.t").await;
    fleet
        .sql(
            "update snowpack.table_cache_entries \
             set payload = payload || '{\"table_uuid\": \"another\"}'",
        )
        .await;
    let run = fleet.completed(&settings()).await;
    assert_eq!(fleet.told(&run).await, ["db.t not_assessed"]);
}
