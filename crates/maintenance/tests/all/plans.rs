//! Pages and sweeps cost what they return, not what the tables hold.

use std::path::Path;

use tokio_postgres::types::{ToSql, Type};

use crate::lane::Lane;

const JOBS: i64 = 20_000;

pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The plan of a statement with these parameters, as text, run once.
pub(crate) async fn explain(lane: &Lane, file: &str, params: &[Param<'_>]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(file);
    let sql = std::fs::read_to_string(&path).unwrap();
    let explained = format!("explain (analyze, buffers, timing off, costs off) {sql}");
    let rows = lane.client.query_typed(&explained, params).await.unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}

/// Buffers touched by the whole statement.
pub(crate) fn buffers(plan: &str) -> i64 {
    let line = plan.lines().find(|line| line.contains("Buffers:")).unwrap();
    let number = |name: &str| {
        let found = line.split(name).nth(1).unwrap_or("0");
        found
            .split_whitespace()
            .next()
            .unwrap_or("0")
            .parse::<i64>()
            .unwrap()
    };
    number("hit=") + number("read=")
}

async fn many_jobs() -> Lane {
    let lane = Lane::new().await;
    let sql = format!(
        "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, status, \
         submitted_at, completed_at, submitted_by, request_hash) \
         select 'job' || n, 'db', 't' || n % 500, '{{rewrite_data_files}}', false, 'completed', \
         now() - n * interval '1 second', now(), 'test', 'v1:' from generate_series(1, {JOBS}) n; \
         insert into snowpack.attempt_files (path, job_id, attempt_id, table_uuid, kind) \
         select 'f/' || n, 'job' || n, 'attempt' || n, 'uuid', 'data' \
         from generate_series(1, {JOBS}) n; \
         analyze snowpack.jobs; analyze snowpack.attempt_files"
    );
    lane.client.batch_execute(&sql).await.unwrap();
    lane
}

#[tokio::test]
async fn a_sweep_of_ten_files_does_not_read_them_all() {
    let lane = many_jobs().await;
    let params: [Param<'_>; 2] = [(&"lakehouse", Type::TEXT), (&10_i64, Type::INT8)];
    let plan = explain(&lane, "ledger/sweep.sql", &params).await;
    assert!(buffers(&plan) < 1_000, "{plan}");
    assert_eq!(
        lane.count("select count(*) from snowpack.pending_deletions")
            .await,
        10
    );
}

const FILES: i64 = 50_000;

/// One table with many listed files: the first `due` of them are due, the others later.
async fn many_files(due: i64) -> Lane {
    let lane = Lane::new().await;
    let sql = format!(
        "insert into snowpack.pending_deletions (catalog, database_name, table_name, table_uuid, \
         path, reason, job_id, delete_after) \
         select 'lakehouse', 'db', 't', 'uuid', 'f/' || lpad((n * 7919 % {FILES})::text, 8, '0'), \
         'expired', 'job', now() + case when n <= {due} then -interval '1 hour' else '1 hour' end \
         from generate_series(1, {FILES}) n; \
         insert into snowpack.expiry_intents (job_id, attempt_id, table_uuid, planned_location, \
         ids, grace_ms, closed_at) \
         select 'job', 'attempt', 'uuid', 'file:/m', '[]', 0, case when n > 3 then now() end \
         from generate_series(1, {FILES}) n; \
         analyze snowpack.pending_deletions; analyze snowpack.expiry_intents"
    );
    lane.client.batch_execute(&sql).await.unwrap();
    lane
}

#[tokio::test]
async fn a_page_of_due_files_costs_what_it_returns() {
    for (due, limit, most) in [(FILES, 1_000_i64, 9_000), (10, 1_000, 500), (0, 1_000, 100)] {
        let lane = many_files(due).await;
        for after in [None, Some("f/00040000")] {
            let params: [Param<'_>; 4] = [
                (&"lakehouse", Type::TEXT),
                (&"uuid", Type::TEXT),
                (&after, Type::TEXT),
                (&limit, Type::INT8),
            ];
            let plan = explain(&lane, "deletions/due.sql", &params).await;
            assert!(
                !plan.contains("Seq Scan on pending_deletions"),
                "{due} due:\n{plan}"
            );
            assert!(buffers(&plan) < most, "{due} due, after {after:?}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn whose_files_are_due_and_what_is_intended_is_found_without_reading_all() {
    let lane = many_files(10).await;
    let named: [Param<'_>; 4] = [
        (&"lakehouse", Type::TEXT),
        (&"db", Type::TEXT),
        (&"t", Type::TEXT),
        (&100_i64, Type::INT8),
    ];
    let open: [Param<'_>; 2] = [(&"uuid", Type::TEXT), (&100_i64, Type::INT8)];
    let old: [Param<'_>; 2] = [(&1_i32, Type::INT4), (&10_i64, Type::INT8)];
    let by_job: [Param<'_>; 1] = [(&"job", Type::TEXT)];
    let of_table: [Param<'_>; 2] = [(&"uuid", Type::TEXT), (&"job", Type::TEXT)];
    let paths = ["f/1", "f/2"].map(str::to_owned);
    let asked: [Param<'_>; 2] = [(&"uuid", Type::TEXT), (&&paths[..], Type::TEXT_ARRAY)];
    for (file, params) in [
        ("deletions/listed_under.sql", &named[..]),
        ("deletions/open_intents.sql", &open[..]),
        ("deletions/purged_by.sql", &by_job[..]),
        ("deletions/orphans_by.sql", &of_table[..]),
        ("deletions/accounted.sql", &asked[..]),
        ("retention/forget_deletions.sql", &old[..]),
        ("retention/forget_intents.sql", &old[..]),
    ] {
        let plan = explain(&lane, file, params).await;
        assert!(buffers(&plan) < 100, "{file}:\n{plan}");
    }
}
