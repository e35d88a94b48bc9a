//! The bench in a tiny size: every figure is there, and nothing is left behind.

use serde_json::Value;
use testkit::Database;

use crate::program::run;

const TINY: [&str; 12] = [
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
    "--output",
    "json",
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

#[tokio::test(flavor = "multi_thread")]
async fn bench_control_plane_measures_everything_and_leaves_nothing() {
    testkit::binary("snowpack-api");
    let database = Database::empty().await;
    let report = run(&TINY, &[("SNOWPACK_DATABASE_URL", database.url())])
        .expect(0)
        .json();
    let figures = report["figures"].as_array().unwrap();
    for figure in figures {
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
    let named = |what: &str| {
        let mut found = figures.iter().filter(|figure| figure["what"] == what);
        let figure = found
            .next()
            .unwrap_or_else(|| panic!("{what} is missing in {report:#}"));
        assert!(found.next().is_none(), "{what} is there twice");
        figure
    };
    let figures = FIGURES.map(named);
    let did = |figure: &Value| figure["did"].as_str().unwrap().to_owned();
    assert!(
        did(figures[0]).starts_with("300 tables, 300 loaded, 300 changed"),
        "{report:#}"
    );
    assert!(
        did(figures[2]).starts_with("300 tables, 0 loaded, 0 changed"),
        "{report:#}"
    );
    assert!(
        did(figures[3]).starts_with("300 tables, 3 loaded, 3 changed"),
        "{report:#}"
    );
    assert!(
        did(figures[4]).starts_with("150 assessed (150 changed)"),
        "{report:#}"
    );
    assert!(
        did(figures[5]).starts_with("150 assessed (0 changed)"),
        "{report:#}"
    );
    assert!(did(figures[6]).starts_with("300 tables, "), "{report:#}");
    let client = database.client().await;
    let sql = "select count(*) from pg_database where datname like 'snowpack_bench_%'";
    testkit::until("the scratch database is gone", async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let sql = "select count(*) from pg_namespace where nspname = 'snowpack'";
    let schemas: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(schemas, 0, "the database given was touched");
}
