//! What the policy asks of the past: exact for each table, cheap for many.

use std::path::Path;

use maintenance::past::{self, Past};
use maintenance::retention::{Old, batch};
use maintenance::{Submission, candidates};
use model::{Action, EndReason, JobId};
use queue::End;
use testkit::Database;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::lane::{Lane, submission, table};

async fn past(lane: &Lane, name: &str, uuid: Option<&str>) -> Past {
    let name = table(name);
    let mut found = past::of(&lane.client, &[(&name, uuid)]).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn end(lane: &mut Lane, asked: &Submission, end: &End) -> JobId {
    let job = lane.try_submit(asked).await.unwrap().job().clone();
    let claimed = lane.claim(&job).await;
    lane.finish(&claimed, end).await.unwrap();
    job
}

fn failed() -> End {
    End::failed(EndReason::ActionFailed, "no")
}

/// When a job ended, in milliseconds.
async fn ended(lane: &Lane, job: &JobId) -> i64 {
    let sql = "select (extract(epoch from completed_at) * 1000)::bigint from snowpack.jobs \
               where job_id = $1";
    lane.client
        .query_one(sql, &[&job.as_str()])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn m25_a_table_without_jobs_has_no_past() {
    let lane = Lane::new().await;
    assert_eq!(past(&lane, "db.a", Some("uuid")).await, Past::default());
    assert_eq!(past::of(&lane.client, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn m25_the_last_jobs_of_a_table_are_told_and_no_other_tables() {
    let mut lane = Lane::new().await;
    let rewrite = submission("db.a");
    let completed = end(&mut lane, &rewrite, &End::completed()).await;
    end(&mut lane, &submission("db.b"), &failed()).await;
    let first = past(&lane, "db.a", None).await;
    assert_eq!(first.last_job.as_ref(), Some(&completed));
    assert_eq!(
        first.last_completed_ms,
        Some(ended(&lane, &completed).await)
    );
    assert_eq!(first.last_ended_ms, first.last_completed_ms);
    assert_eq!((first.failures_in_a_row, first.last_failure_ms), (0, None));

    end(&mut lane, &rewrite, &failed()).await;
    end(&mut lane, &rewrite, &End::cancelled()).await;
    let last = end(&mut lane, &rewrite, &failed()).await;
    let then = past(&lane, "db.a", None).await;
    assert_eq!(then.last_completed_ms, first.last_completed_ms);
    assert_eq!(then.last_ended_ms, Some(ended(&lane, &last).await));
    assert_eq!(then.last_failure_ms, then.last_ended_ms);
    assert_eq!(
        then.failures_in_a_row, 2,
        "the cancelled one neither counts nor ends the streak"
    );

    end(&mut lane, &rewrite, &End::completed()).await;
    assert_eq!(past(&lane, "db.a", None).await.failures_in_a_row, 0);
}

#[tokio::test]
async fn m25_dry_runs_do_not_count_and_a_purge_does_not_stand_for_maintenance() {
    let mut lane = Lane::new().await;
    let rewrite = submission("db.a");
    let completed = end(&mut lane, &rewrite, &End::completed()).await;
    end(&mut lane, &rewrite, &failed()).await;
    let mut purge = submission("db.a");
    purge.actions = vec![Action::PurgePending];
    let purged = end(&mut lane, &purge, &End::completed()).await;
    let mut dry = rewrite.clone();
    dry.dry_run = true;
    let tx = lane.client.transaction().await.unwrap();
    maintenance::dry_run::record(&tx, &dry, &[]).await.unwrap();
    tx.commit().await.unwrap();
    let found = past(&lane, "db.a", None).await;
    assert_eq!(found.last_job, Some(purged));
    assert_eq!(
        found.last_completed_ms,
        Some(ended(&lane, &completed).await)
    );
    assert_eq!(found.failures_in_a_row, 1);
}

#[tokio::test]
async fn m25_a_job_counts_when_it_is_archived_and_whatever_dry_runs_came_after_it() {
    let mut lane = Lane::new().await;
    let rewrite = submission("db.a");
    end(&mut lane, &rewrite, &End::completed()).await;
    end(&mut lane, &rewrite, &failed()).await;
    let last = end(&mut lane, &rewrite, &failed()).await;
    let mut purge = submission("db.b");
    purge.actions = vec![Action::PurgePending];
    end(&mut lane, &purge, &End::completed()).await;
    let sql = "update snowpack.jobs set submitted_at = submitted_at - interval '31 days', \
               completed_at = completed_at - interval '31 days'; \
               insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
               status, completed_at, submitted_by, request_hash) \
               select 'dry' || n, 'db', 'a', '{rewrite_data_files}', true, 'completed', now(), \
               'test', 'v1:' from generate_series(1, 60) n";
    lane.client.batch_execute(sql).await.unwrap();
    let before = (
        past(&lane, "db.a", None).await,
        past(&lane, "db.b", None).await,
    );
    assert_eq!(before.0.last_job.as_ref(), Some(&last));
    assert_eq!(
        (before.0.failures_in_a_row, before.1.last_ended_ms),
        (2, None)
    );
    for (limit, archived) in [(2, 2), (10, 2)] {
        let moved = batch(&lane.client, Old::Jobs, 30, limit).await.unwrap();
        assert_eq!(moved, archived);
        let after = (
            past(&lane, "db.a", None).await,
            past(&lane, "db.b", None).await,
        );
        assert_eq!(after, before, "after {archived} more were archived");
    }
    let tx = lane.client.transaction().await.unwrap();
    let own = maintenance::submit(&tx, &rewrite).await.unwrap();
    let name = table("db.a");
    assert!(
        past::unchanged(&tx, &name, Some(&last), own.job())
            .await
            .unwrap()
    );
    assert!(!past::unchanged(&tx, &name, None, own.job()).await.unwrap());
}

#[tokio::test]
async fn m25_a_streak_is_counted_up_to_a_bound() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
               status, reason, submitted_at, completed_at, submitted_by, request_hash) \
               select 'job' || n, 'db', 't', '{rewrite_data_files}', false, 'failed', \
               'action_failed', now() - n * interval '1 hour', now() - n * interval '1 hour', \
               'test', 'v1:' from generate_series(1, 300) n";
    lane.client.batch_execute(sql).await.unwrap();
    assert_eq!(past(&lane, "db.t", None).await.failures_in_a_row, 50);
}

#[tokio::test]
async fn m25_a_streak_ends_at_the_last_job_that_completed_kept_or_archived() {
    let lane = Lane::new().await;
    // The job `streak` hours ago completed; those before it and after it failed.
    let sql = "with job as (select n, now() - n * interval '1 hour' as at, \
               case n when $2::int then 'completed' else 'failed' end as status \
               from generate_series(0, 60) n), kept as (insert into snowpack.jobs (job_id, \
               database_name, table_name, actions, dry_run, status, reason, submitted_at, \
               completed_at, submitted_by, request_hash) select $1::text || n, 'db', $1::text, \
               '{rewrite_data_files}', false, status, case status when 'failed' then \
               'action_failed' end, at, at, 'test', 'v1:' from job where n < $3::int) \
               insert into snowpack.job_history (job_id, database_name, table_name, status, \
               submitted_at, completed_at, submitted_by, record, actions) select $1::text || n, 'db', \
               $1::text, status, at, at, 'test', '{}', '[]' from job where $3::int <= n";
    for (streak, kept) in [0, 1, 3, 4, 5, 49]
        .into_iter()
        .flat_map(|streak| [0, 2, 4, 9, 70].map(|kept| (streak, kept)))
    {
        let name = format!("t{streak}_{kept}");
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&name, &streak, &kept];
        lane.client.execute(sql, &params).await.unwrap();
        let found = past(&lane, &format!("db.{name}"), None).await;
        assert_eq!(found.failures_in_a_row, streak as u32, "{name}");
        assert_eq!(found.last_job, Some(JobId::new(format!("{name}0"))));
        let since = |ms: Option<i64>| ms.map(|ms| (found.last_ended_ms.unwrap() - ms) / 3_600_000);
        assert_eq!(
            since(found.last_completed_ms),
            Some(streak.into()),
            "{name}"
        );
        if 0 < streak {
            assert_eq!(since(found.last_failure_ms), Some(0), "{name}");
        }
    }
}

#[tokio::test]
async fn m25_the_live_holder_of_a_lock_is_told_and_a_dead_one_is_not() {
    let mut lane = Lane::new().await;
    let job = lane.submit("db.a").await;
    let found = past(&lane, "db.a", None).await;
    assert_eq!(
        (found.locked_by.as_ref(), found.last_job.as_ref()),
        (Some(&job), Some(&job))
    );
    assert_eq!(past(&lane, "db.b", None).await.locked_by, None);
    let claimed = lane.claim(&job).await;
    assert_eq!(past(&lane, "db.a", None).await.locked_by, Some(job));
    lane.finish(&claimed, &End::completed()).await.unwrap();
    let orphan = "insert into snowpack.table_locks (table_key, holder, expires_at) \
                  values ('db.a', 'nobody', now() + interval '1 hour')";
    lane.client.batch_execute(orphan).await.unwrap();
    assert_eq!(past(&lane, "db.a", None).await.locked_by, None);
}

#[tokio::test]
async fn m25_deletions_are_due_after_their_grace_unless_an_attempt_reserved_the_file() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.pending_deletions (catalog, database_name, table_name, \
               table_uuid, path, reason, job_id, delete_after, state, note, changed_at) values \
               ('c', 'db', 'a', 'u', 'f/1', 'expired', 'j', now() - interval '1 s', 'pending', null, null), \
               ('c', 'db', 'a', 'u', 'f/2', 'expired', 'j', now() - interval '1 s', 'pending', null, null), \
               ('c', 'db', 'a', 'u', 'f/3', 'expired', 'j', now() + interval '1 h', 'pending', null, null), \
               ('c', 'db', 'a', 'u', 'f/4', 'expired', 'j', now() - interval '1 s', 'deleted', null, now()), \
               ('c', 'db', 'a', 'old', 'f/5', 'expired', 'j', now() - interval '1 s', 'pending', null, null); \
               insert into snowpack.attempt_files (path, job_id, attempt_id, table_uuid, kind) \
               values ('f/2', 'j', 'a', 'u', 'data')";
    lane.client.batch_execute(sql).await.unwrap();
    assert_eq!(past(&lane, "db.a", Some("u")).await.due_deletion_count, 1);
    assert_eq!(
        past(&lane, "db.a", Some("other")).await.due_deletion_count,
        0
    );
    assert_eq!(past(&lane, "db.a", None).await.due_deletion_count, 0);
}

#[tokio::test]
async fn m25_names_that_need_quotes_find_their_own_past() {
    let mut lane = Lane::new().await;
    let names = [
        "\"a.b\".c",
        "a.\"b.c\"",
        "a.b.c",
        "größe.\"say \"\"hi\"\"\"",
    ];
    let mut jobs = Vec::new();
    for name in names {
        jobs.push(lane.submit(name).await);
    }
    let tables = names.map(table);
    let asked: Vec<_> = tables.iter().map(|name| (name, None)).collect();
    let found = past::of(&lane.client, &asked).await.unwrap();
    for ((found, job), name) in found.iter().zip(&jobs).zip(names) {
        assert_eq!(found.locked_by.as_ref(), Some(job), "{name}");
        assert_eq!(found.last_job.as_ref(), Some(job), "{name}");
    }
}

#[tokio::test]
async fn m25_a_job_submitted_meanwhile_is_noticed_under_the_lock() {
    let mut lane = Lane::new().await;
    let name = table("db.a");
    let before = past(&lane, "db.a", None).await.last_job;
    let check = async |lane: &mut Lane, seen: Option<&JobId>| {
        let tx = lane.client.transaction().await.unwrap();
        let own = maintenance::submit(&tx, &submission("db.a")).await.unwrap();
        past::unchanged(&tx, &name, seen, own.job()).await.unwrap()
    };
    assert!(check(&mut lane, before.as_ref()).await);
    // Another run's job came and went.
    let other = end(&mut lane, &submission("db.a"), &End::completed()).await;
    assert!(!check(&mut lane, before.as_ref()).await);
    assert!(check(&mut lane, Some(&other)).await);
}

#[tokio::test]
async fn m25_a_table_put_off_waits_since_the_first_run_after_its_last_job() {
    let mut lane = Lane::new().await;
    let put_off = async |lane: &Lane, hours: i32, reason: &str| {
        let sql = "with run as (insert into snowpack.orchestrator_runs default values \
                   returning run_id) insert into snowpack.orchestrator_decisions \
                   (run_id, database_name, table_name, decision, reason, why, decided_at) \
                   select run_id, 'db', 'a', 'skip', $1, '', now() + make_interval(hours => $2) \
                   from run returning (extract(epoch from decided_at) * 1000)::bigint";
        let row = lane
            .client
            .query_one(sql, &[&reason, &hours])
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    put_off(&lane, -9, "healthy").await;
    let first = put_off(&lane, -8, "over_budget").await;
    put_off(&lane, -7, "over_budget").await;
    let since = async |lane: &Lane| past(lane, "db.a", None).await.put_off_since_ms;
    assert_eq!(since(&lane).await, Some(first));
    let mut purge = submission("db.a");
    purge.actions = vec![Action::PurgePending];
    end(&mut lane, &purge, &End::completed()).await;
    assert_eq!(since(&lane).await, None, "a purge was its turn too");
    let later = put_off(&lane, 1, "over_budget").await;
    assert_eq!(since(&lane).await, Some(later));
    let sql = "update snowpack.orchestrator_decisions set decided_at = decided_at - interval '1 h'";
    lane.client.batch_execute(sql).await.unwrap();
    end(&mut lane, &submission("db.a"), &failed()).await;
    assert_eq!(since(&lane).await, None);
    let again = put_off(&lane, 1, "over_budget").await;
    assert_eq!(since(&lane).await, Some(again));
}

#[tokio::test]
async fn live_jobs_are_counted_up_to_a_bound() {
    let mut lane = Lane::new().await;
    for name in ["db.a", "db.b", "db.c"] {
        lane.submit(name).await;
    }
    for (most, want) in [(0, 0), (2, 2), (100, 3)] {
        assert_eq!(past::live_count(&lane.client, most).await.unwrap(), want);
    }
}

/// Many jobs, locks and listed files of many tables.
async fn crowd() -> Database {
    let database = Database::new().await;
    let client = database.client().await;
    let sql = "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
               status, submitted_at, completed_at, submitted_by, request_hash) \
               select 'job' || n, 'db', 't' || n % 5000, '{rewrite_data_files}', false, \
               'completed', now() - n * interval '1 s', now(), 'test', 'v1:' \
               from generate_series(1, 50000) n; \
               insert into snowpack.job_history (job_id, database_name, table_name, status, \
               submitted_at, completed_at, submitted_by, record, actions) \
               select 'old' || n, 'db', 't' || n % 5000, 'completed', now() - n * interval '1 h', \
               now(), 'test', '{}', '[]' \
               from generate_series(1, 50000) n; \
               insert into snowpack.table_locks (table_key, holder, expires_at) \
               select 'db.t' || n, 'job' || n, now() from generate_series(1, 5000) n; \
               insert into snowpack.pending_deletions (catalog, database_name, table_name, \
               table_uuid, path, reason, job_id, delete_after) \
               select 'c', 'db', 't' || n % 100, 'u' || n % 100, 'f/' || n, 'expired', 'j', now() \
               from generate_series(1, 50000) n; \
               insert into snowpack.orchestrator_runs (payload) select '{}' from generate_series(1, 10); \
               insert into snowpack.orchestrator_decisions (run_id, database_name, table_name, \
               decision, reason, why) \
               select r, 'db', 't' || n, 'skip', 'over_budget', '' \
               from generate_series(1, 10) r, generate_series(1, 5000) n; \
               insert into snowpack.table_cache_entries (database_name, table_name, payload) \
               select 'db', 't' || n, '{}' from generate_series(1, 50000) n; \
               insert into snowpack.table_health (database_name, table_name, payload) \
               select 'db', 't' || n, '{}' from generate_series(1, 50000) n";
    client.batch_execute(sql).await.unwrap();
    database
}

async fn plan(
    client: &Client,
    file: &str,
    params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
) -> (String, i64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(file);
    let sql = std::fs::read_to_string(path).unwrap();
    let explained = format!("explain (analyze, buffers, timing off, costs off) {sql}");
    let rows = client.query_typed(&explained, params).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let total = lines.iter().find(|line| line.contains("Buffers:")).unwrap();
    let number = |name: &str| -> i64 {
        let found = total
            .split(name)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        found.map_or(0, |text| text.parse().unwrap())
    };
    (lines.join("\n"), number("hit=") + number("read="))
}

#[tokio::test]
async fn m25_the_past_of_many_tables_is_a_few_index_looks_for_each() {
    let database = crowd().await;
    let client = database.client().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("t{n}")).collect();
    let databases = vec!["db"; 1_000];
    let keys: Vec<String> = names.iter().map(|name| format!("db.{name}")).collect();
    let uuids: Vec<Option<String>> = (0..1_000)
        .map(|n| (n >= 100).then(|| format!("u{n}")))
        .collect();
    let (jobs, due, newest) = (50_i64, 1_000_i64, 4_i64);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 7] = [
        (&databases, Type::TEXT_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&keys, Type::TEXT_ARRAY),
        (&uuids, Type::TEXT_ARRAY),
        (&jobs, Type::INT8),
        (&due, Type::INT8),
        (&newest, Type::INT8),
    ];
    client.batch_execute("analyze").await.unwrap();
    let (plan, buffers) = plan(&client, "past/of.sql", &params).await;
    for scanned in [
        "jobs",
        "job_history",
        "table_locks",
        "pending_deletions",
        "orchestrator_decisions",
    ] {
        assert!(
            !plan.contains(&format!("Seq Scan on {scanned}")),
            "{scanned}:\n{plan}"
        );
    }
    assert!(
        buffers < 40_000,
        "{buffers} buffers for 1,000 tables:\n{plan}"
    );
}

#[tokio::test]
async fn m25_a_page_of_candidates_costs_what_it_returns() {
    let database = crowd().await;
    let client = database.client().await;
    client.batch_execute("analyze").await.unwrap();
    for after in [None, Some("t30000")] {
        let name = after.map(|_| "db");
        let none: Option<&str> = None;
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
            (&name, Type::TEXT),
            (&after, Type::TEXT),
            (&100_i64, Type::INT8),
            (&3600.0_f64, Type::FLOAT8),
            (&none, Type::TEXT),
            (&none, Type::TEXT),
        ];
        let (plan, buffers) = plan(&client, "candidates/page.sql", &params).await;
        // The one row of table_cache_meta apart.
        for whole in [
            "Seq Scan on table_cache_entries",
            "Seq Scan on table_health",
        ] {
            assert!(!plan.contains(whole), "after {after:?}:\n{plan}");
        }
        assert!(buffers < 1_500, "after {after:?}: {buffers}:\n{plan}");
    }
}

#[tokio::test]
async fn m25_candidates_are_paged_by_name_with_their_health() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.table_cache_entries (database_name, table_name, payload) \
               select 'd' || n % 7, 't' || n, jsonb_build_object('n', n) \
               from generate_series(1, 100) n; \
               update snowpack.table_cache_meta set last_synced_at = now(), failed_namespaces = \
               jsonb_build_array(jsonb_build_object('namespace', 'd3', 'since', now() - interval '2 h')); \
               insert into snowpack.table_health (database_name, table_name, payload, assessed_at, error, failure_count) \
               select 'd' || n % 7, 't' || n, '{\"of\": 1}', now(), null, 0 \
               from generate_series(1, 100, 2) n";
    lane.client.batch_execute(sql).await.unwrap();
    let hour = std::time::Duration::from_hours(1);
    let mut found = Vec::new();
    loop {
        let after = found
            .last()
            .map(|last: &candidates::Candidate| (last.database.clone(), last.table.clone()));
        let page = candidates::page(&lane.client, after.as_ref(), 9, hour)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found.len(), 100);
    assert!(found.is_sorted_by_key(|one| (one.database.clone(), one.table.clone())));
    let name = table("d2.t23");
    let one = candidates::one(&lane.client, &name, hour).await.unwrap();
    assert_eq!(one.unwrap().content.as_deref(), Some("{\"n\": 23}"));
    let none = candidates::one(&lane.client, &table("d3.t23"), hour)
        .await
        .unwrap();
    assert_eq!(none, None);
    for one in &found {
        let n: u32 = one.table[1..].parse().unwrap();
        assert_eq!(
            one.content.as_deref(),
            Some(format!("{{\"n\": {n}}}").as_str())
        );
        assert_eq!(one.health.is_some(), n % 2 == 1, "{n}");
        assert_eq!(one.stale, n % 7 == 3, "{n}");
    }
}

#[tokio::test]
async fn the_inventorys_age_is_the_databases() {
    let lane = Lane::new().await;
    assert_eq!(candidates::age(&lane.client).await.unwrap(), None);
    let sql = "update snowpack.table_cache_meta set last_synced_at = now() - interval '1 hour'";
    lane.client.batch_execute(sql).await.unwrap();
    let age = candidates::age(&lane.client).await.unwrap().unwrap();
    assert_eq!(age.as_secs() / 60, 60);
}
