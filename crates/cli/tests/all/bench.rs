//! The bench in a tiny size: every figure is there, and nothing is left behind.

use serde_json::Value;
use testkit::Database;

use crate::program::run;

const TINY: [&str; 10] = [
    "bench",
    "control-plane",
    "--tables",
    "300",
    "--databases",
    "3",
    "--history",
    "1000",
    "--seconds",
    "1",
];

/// What must be measured; a figure of pages is named by what its listing is called.
const FIGURES: [&str; 17] = [
    "cache, first fill",
    "cache, first fill: memory",
    "cache, nothing changed",
    "cache, 1 % changed",
    "health of 150 tables, first look",
    "health of 150 tables, unchanged",
    "decisions, dry run",
    "decisions, dry run: memory",
    "API, idle",
    "GET /tables: p99",
    "GET /tables?health_below=60: p99",
    "GET /jobs: p50",
    "GET /jobs?status=failed: p99",
    "GET /jobs?status=running: p99",
    "API, reads a second",
    "API, reads a second of its CPU",
    "API, at most",
];

/// Runs a bench in JSON on a server that holds nothing else: every figure makes sense, and what it
/// made is gone. Gives the report.
async fn measured(program: &str, words: &[&str]) -> Value {
    testkit::binary(program);
    let database = Database::empty().await;
    let words = [words, &["--output", "json"]].concat();
    let report = run(&words, &[("SNOWPACK_DATABASE_URL", database.url())])
        .expect(0)
        .json();
    for figure in report["figures"].as_array().unwrap() {
        let value = figure["value"].as_f64().unwrap();
        assert!(0.0 < value && value.is_finite(), "{figure}");
        let peer = &figure["peer"];
        assert!(
            peer.is_null() || 0.0 < peer["ratio"].as_f64().unwrap(),
            "{figure}"
        );
        assert_eq!(
            figure["target"].is_null(),
            figure["target_met"].is_null(),
            "{figure}"
        );
    }
    let client = database.client().await;
    let sql = "select count(*) from pg_database where datname like 'snowpack_bench_%'";
    testkit::until("the scratch database is gone", async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let sql = "select count(*) from pg_namespace where nspname = 'snowpack'";
    let schemas: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(schemas, 0, "the database given was touched");
    report
}

/// The one figure of this name.
fn named<'a>(report: &'a Value, what: &str) -> &'a Value {
    let figures = report["figures"].as_array().unwrap();
    let mut found = figures.iter().filter(|figure| figure["what"] == what);
    let figure = found
        .next()
        .unwrap_or_else(|| panic!("{what} is missing in {report:#}"));
    assert!(found.next().is_none(), "{what} is there twice");
    figure
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_control_plane_measures_everything_and_leaves_nothing() {
    let report = measured("snowpack-api", &TINY).await;
    let figures = FIGURES.map(|what| named(&report, what));
    let did = |figure: &Value| figure["did"].as_str().unwrap().to_owned();
    for (figure, want) in [
        (0, "300 tables, 300 loaded, 300 changed"),
        (2, "300 tables, 0 loaded, 0 changed"),
        (3, "300 tables, 3 loaded, 3 changed"),
        (4, "150 assessed (150 changed)"),
        (5, "150 assessed (0 changed)"),
        (6, "300 tables, "),
    ] {
        assert!(did(figures[figure]).starts_with(want), "{want}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_scaler_measures_everything_and_leaves_nothing() {
    let words = ["bench", "scaler", "--rate", "200", "--seconds", "1"];
    let report = measured("snowpack-scaler", &words).await;
    for what in [
        "scaler, idle",
        "scaler, at most",
        "push, from the commit to `active`: p50",
        "push, from the commit to `active`: slowest",
    ] {
        named(&report, what);
    }
    for how in ["JSON", "gRPC"] {
        for what in ["p50", "queries behind it", "requests, flat out"] {
            let figure = named(&report, &format!("{how}, {what}"));
            assert_eq!(figure["peer"]["what"], "keda.sql", "{figure}");
        }
        named(&report, &format!("{how}, requests for a second of its CPU"));
        let p99 = named(&report, &format!("{how}, p99"));
        assert_eq!(p99["did"], "200 requests, 200 a second");
    }
}
