//! Every way to list jobs, history and tables costs what it returns.

use jiff::Timestamp;
use maintenance::{Filter, jobs};
use model::JobStatus;
use tokio_postgres::types::Type;

use crate::lane::Lane;
use crate::plans::{Param, buffers, explain};

const JOBS: i64 = 30_000;

/// Jobs a second apart, newest first `job1`: one of a hundred failed, ten live ones in between,
/// and a database of its own for one of five hundred. As many archived.
async fn many() -> Lane {
    let lane = Lane::new().await;
    let columns = "job_id, database_name, table_name, actions, dry_run, status, reason, \
                   submitted_at, completed_at, submitted_by, request_hash";
    let sql = format!(
        "insert into snowpack.jobs ({columns}) \
         select 'job' || n, case when n % 500 = 1 then 'rare' else 'db' end, 't' || n % 500, \
         '{{rewrite_data_files}}', false, \
         case when n % 3000 = 2 then 'pending' when n % 100 = 3 then 'failed' else 'completed' end, \
         case when n % 100 = 3 then 'action_failed' end, now() - n * interval '1 second', \
         case when n % 3000 <> 2 then now() end, 'test', 'v1:' from generate_series(1, {JOBS}) n; \
         insert into snowpack.job_queue (job_id, visible_at) \
         select job_id, now() from snowpack.jobs where status = 'pending'; \
         insert into snowpack.job_history (job_id, database_name, table_name, status, submitted_at, \
         completed_at, submitted_by, record, actions) \
         select 'old' || n, case when n % 500 = 1 then 'rare' else 'db' end, 't' || n % 500, \
         case when n % 100 = 3 then 'failed' else 'completed' end, \
         now() - interval '90 days' - n * interval '1 second', now() - interval '80 days', 'test', \
         to_jsonb(jobs) || jsonb_build_object('job_id', 'old' || n), '[]' \
         from generate_series(1, {JOBS}) n, (select * from snowpack.jobs where job_id = 'job9') jobs; \
         analyze snowpack.jobs; analyze snowpack.job_queue; analyze snowpack.job_history"
    );
    lane.client.batch_execute(&sql).await.unwrap();
    lane
}

struct Case<'a> {
    status: Option<&'a str>,
    database: Option<&'a str>,
    table: Option<&'a str>,
    since: Option<Timestamp>,
    after: Option<&'a str>,
}

async fn check(lane: &Lane, file: &str, case: &Case<'_>, rows: usize) {
    let time = "select submitted_at from snowpack.jobs where job_id = $1 \
                union all select submitted_at from snowpack.job_history where job_id = $1";
    let at: Option<Timestamp> = match case.after {
        Some(job) => Some(lane.client.query_one(time, &[&job]).await.unwrap().get(0)),
        None => None,
    };
    let params: [Param<'_>; 7] = [
        (&case.status, Type::TEXT),
        (&case.database, Type::TEXT),
        (&case.table, Type::TEXT),
        (&case.since, Type::TIMESTAMPTZ),
        (&at, Type::TIMESTAMPTZ),
        (&case.after, Type::TEXT),
        (&20_i64, Type::INT8),
    ];
    let plan = explain(lane, file, &params).await;
    let told = format!(
        "{file}, {:?}, {:?}, {:?}, after {:?}:\n{plan}",
        case.status, case.database, case.table, case.after
    );
    for whole in ["Seq Scan on jobs", "Seq Scan on job_history"] {
        assert!(!plan.contains(whole), "{told}");
    }
    assert!(buffers(&plan) < 1_000, "{told}");
    let statement = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sql")
        .join(file);
    let statement = std::fs::read_to_string(statement).unwrap();
    let found = lane.client.query_typed(&statement, &params).await.unwrap();
    assert_eq!(found.len(), rows, "{told}");
}

#[tokio::test]
async fn m29_m30_every_listing_of_jobs_is_read_from_an_index() {
    let lane = many().await;
    let sql = "select submitted_at from snowpack.jobs where job_id = 'job15'";
    let recent: Timestamp = lane.client.query_one(sql, &[]).await.unwrap().get(0);
    // Status, database, table, since, after; rows of jobs/list.sql, of history/list.sql.
    let cases = [
        (None, None, None, None, None, 20, 20),
        (None, None, None, None, Some("job29000"), 20, 20),
        (None, None, None, Some(recent), None, 15, 15),
        (Some("completed"), None, None, None, None, 20, 20),
        (Some("failed"), None, None, None, None, 20, 20),
        (Some("failed"), None, None, None, Some("job29990"), 0, 20),
        (Some("cancelled"), None, None, None, None, 0, 0),
        (None, Some("rare"), None, None, None, 20, 20),
        (Some("completed"), Some("rare"), None, None, None, 20, 20),
        (Some("failed"), Some("rare"), None, None, None, 0, 0),
        (None, Some("db"), Some("t7"), None, None, 20, 20),
        (
            Some("completed"),
            Some("db"),
            Some("t7"),
            None,
            None,
            20,
            20,
        ),
        (None, Some("db"), Some("t7"), Some(recent), None, 1, 1),
    ];
    for (status, database, table, since, after, kept, both) in cases {
        let case = Case {
            status,
            database,
            table,
            since,
            after,
        };
        check(&lane, "jobs/list.sql", &case, kept).await;
        check(&lane, "history/list.sql", &case, both).await;
    }
    let deep = Case {
        status: None,
        database: None,
        table: None,
        since: None,
        after: Some("old29000"),
    };
    check(&lane, "history/list.sql", &deep, 20).await;
    for (status, database, rows) in [
        (Some("pending"), None, 10),
        (Some("running"), None, 0),
        (Some("pending"), Some("rare"), 0),
    ] {
        let case = Case {
            status,
            database,
            table: None,
            since: None,
            after: None,
        };
        check(&lane, "jobs/list_live.sql", &case, rows).await;
    }
}

#[tokio::test]
async fn m29_live_jobs_are_listed_from_the_queue_however_many_ended_or_wait() {
    for live in [200, 10_000] {
        let lane = Lane::new().await;
        // Ids rise with the time, as those of real jobs do.
        let sql = format!(
            "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
             status, submitted_at, completed_at, submitted_by, request_hash) \
             select 'job' || lpad(n::text, 6, '0'), 'db', 't' || n, '{{rewrite_data_files}}', false, \
             case when n <= 30000 then 'completed' else 'pending' end, \
             now() + n * interval '1 second', case when n <= 30000 then now() end, 'test', 'v1:' \
             from generate_series(1, 30000 + {live}) n; \
             insert into snowpack.job_queue (job_id, visible_at, enqueued_at) \
             select job_id, now(), submitted_at from snowpack.jobs where status = 'pending'; analyze"
        );
        lane.client.batch_execute(&sql).await.unwrap();
        let mut listed = Vec::new();
        let filter = |before| Filter {
            status: Some(JobStatus::Pending),
            limit: 100,
            before,
            ..Filter::default()
        };
        let mut before = None;
        for _ in 0..2 {
            let page = jobs::list(&lane.client, &filter(before)).await.unwrap();
            before = page.last().map(|job| (job.submitted_at, job.id.clone()));
            listed.extend(page.into_iter().map(|job| job.id.to_string()));
        }
        let newest = (0..200).map(|n| format!("job{:06}", 30_000 + live - n));
        assert_eq!(listed, newest.collect::<Vec<_>>());
        let case = Case {
            status: Some("pending"),
            database: None,
            table: None,
            since: None,
            after: Some("job030150"),
        };
        check(&lane, "jobs/list_live.sql", &case, 20).await;
    }
}

#[tokio::test]
async fn m20_every_listing_of_tables_is_read_from_an_index() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.table_cache_entries \
               select 'd' || n % 20, 't' || n, case when n % 1000 = 0 then false when n % 2 = 0 then true end, '{}' \
               from generate_series(1, 50000) n; \
               insert into snowpack.table_health (database_name, table_name, score, payload) \
               select 'd' || n % 20, 't' || n, n % 101, '{}' from generate_series(1, 50000) n; \
               update snowpack.table_cache_meta set last_synced_at = now(); analyze";
    lane.client.batch_execute(sql).await.unwrap();
    let cases = [
        (None, None, None, None),
        (Some("d7"), None, None, None),
        (None, Some(false), None, None),
        (None, Some(true), None, Some("d7")),
        (None, None, None, Some("d7")),
        (Some("d7"), Some(false), None, None),
        (None, None, Some(50.0_f32), None),
        (Some("d7"), None, Some(1.0_f32), Some("d7")),
    ];
    for (database, enabled, below, after) in cases {
        let table = after.map(|_| "t3");
        let mut params: Vec<Param<'_>> = vec![
            (&database, Type::TEXT),
            (&enabled, Type::BOOL),
            (&after, Type::TEXT),
            (&table, Type::TEXT),
            (&100_i64, Type::INT8),
            (&false, Type::BOOL),
        ];
        let file = match &below {
            None => "inventory/list.sql",
            Some(below) => {
                params.push((below, Type::FLOAT4));
                "inventory/list_below.sql"
            }
        };
        let plan = explain(&lane, file, &params).await;
        let told = format!("{database:?} {enabled:?} {below:?} {after:?}:\n{plan}");
        for whole in [
            "Seq Scan on table_cache_entries",
            "Seq Scan on table_health",
        ] {
            assert!(!plan.contains(whole), "{told}");
        }
        assert!(buffers(&plan) < 3_000, "{told}");
    }
    let name = "t47";
    let params: [Param<'_>; 2] = [(&"d7", Type::TEXT), (&name, Type::TEXT)];
    let plan = explain(&lane, "inventory/get.sql", &params).await;
    assert!(buffers(&plan) < 40, "{plan}");
}

#[tokio::test]
async fn a_page_of_candidates_reads_the_health_of_its_own_tables_only() {
    let lane = Lane::new().await;
    let sql = "insert into snowpack.table_cache_entries \
               select 'd' || n % 20, 't' || n, null, '{}' from generate_series(1, 50000) n; \
               insert into snowpack.table_health (database_name, table_name, score, payload) \
               select 'd' || n % 20, 't' || n, n % 101, '{}' from generate_series(1, 50000) n; \
               update snowpack.table_cache_meta set last_synced_at = now(); analyze";
    lane.client.batch_execute(sql).await.unwrap();
    let none: Option<&str> = None;
    let params: [Param<'_>; 6] = [
        (&Some("d7"), Type::TEXT),
        (&Some("t3"), Type::TEXT),
        (&1_000_i64, Type::INT8),
        (&3600.0_f64, Type::FLOAT8),
        (&none, Type::TEXT),
        (&none, Type::TEXT),
    ];
    let plan = explain(&lane, "candidates/page.sql", &params).await;
    assert!(buffers(&plan) < 10_000, "{plan}");
}
