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

/// A number that was measured.
#[track_caller]
fn number(of: &Value, name: &str) -> f64 {
    let number = of[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {of:#}"));
    assert!(0.0 < number && number.is_finite(), "{name} in {of:#}");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_compact_measures_both_variants_beside_peers_and_leaves_nothing() {
    let words = "bench compact --files 8 --rows 500 --rounds 2 --peers";
    let words: Vec<&str> = words.split(' ').collect();
    let python = std::env::var("SNOWPACK_TEST_PYTHON").unwrap();
    let words = [&words[..], &["--python", &python]].concat();
    let report = measured("snowpack", &words).await;
    for (variant, title) in [("z", "Z"), ("n", "N")] {
        let of = &report["variants"][variant];
        let ours = ["seconds", "cpu_seconds", "peak_bytes"].map(|name| number(of, name));
        assert_eq!(
            (of["rows_in"].as_u64(), of["rows_out"].as_u64()),
            (Some(4_000), Some(4_000))
        );
        assert_eq!(of["files_out"], 1, "{of:#}");
        assert_eq!(of["rounds"].as_array().unwrap().len(), 2);
        // The tests' Python has these two.
        for name in ["duckdb", "pyarrow"] {
            let peers = of["peers"].as_array().unwrap();
            let peer = peers.iter().find(|peer| peer["name"] == name).unwrap();
            let ratio = ours[0] / number(peer, "seconds");
            assert!((ratio - number(peer, "ratio")).abs() < 1e-9, "{peer:#}");
            number(peer, "cpu_seconds");
            number(peer, "peak_bytes");
            let version = peer["version"].as_str().unwrap();
            let beside = format!("{title}, seconds beside {name} {version}");
            assert_eq!(named(&report, &beside)["peer"]["what"], name);
        }
        named(&report, &format!("{title}, memory"));
    }
    number(&report["five_small_files"], "seconds");
    number(&report["five_small_files"], "peak_bytes");
    // PLAIN pages are another encoding of the same rows.
    let bytes = |variant: &str| number(&report["variants"][variant], "bytes_in");
    assert!((bytes("z") - bytes("n")).abs() > 1_000.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_compact_applies_the_deletes_asked_for_and_says_that_peers_do_not() {
    let words = "bench compact --files 6 --rows 200 --rounds 1 --variant z --peers \
                 --position-deletes 20% --equality-deletes 30";
    let words: Vec<&str> = words.split_whitespace().collect();
    let report = measured("snowpack", &words).await;
    let z = &report["variants"]["z"];
    let (rows, deleted) = (number(z, "rows_out"), number(z, "deletes_applied"));
    assert_eq!((number(z, "rows_in"), rows + deleted), (1_200.0, 1_200.0));
    assert!((200.0..400.0).contains(&deleted), "{z:#}");
    assert_eq!(z["peers"], serde_json::json!([]));
    assert!(report["variants"]["n"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_metadata_reads_plans_merges_and_expires_beside_pyiceberg_and_leaves_nothing() {
    let words = "bench metadata --files 6000 --manifests 20 --snapshots 120 --peers";
    let words: Vec<&str> = words.split(' ').collect();
    let python = std::env::var("SNOWPACK_TEST_PYTHON").unwrap();
    let report = measured("snowpack", &[&words[..], &["--python", &python]].concat()).await;
    let read = named(&report, "entries read a second");
    assert_eq!(read["peer"]["what"], "PyIceberg");
    // Two of the manifests.
    let did = read["did"].as_str().unwrap();
    assert!(did.contains(": 600 entries in "), "{read}");
    for (files, groups) in [
        ("6,000", "6000 files in 1000 groups"),
        ("600", "0 files in 0 groups"),
    ] {
        let plan = named(&report, &format!("plan of {files} files, seconds"));
        assert_eq!(plan["did"], groups);
        named(&report, &format!("plan of {files} files, memory"));
    }
    let merged = named(&report, "entries merged a second");
    assert_eq!(merged["did"], "20 manifests -> 1");
    named(&report, "merge, memory");
    let orphans = named(&report, "orphans among 6,000 files, seconds");
    assert_eq!(orphans["did"], "60 orphans");
    named(&report, "orphans among 6,000 files, memory");
    // 119 lists, and what lies outside the last window: 70 manifests and their files.
    let expiry = named(&report, "expiry of 120 snapshots, seconds");
    assert_eq!(expiry["did"], "259 files listed for deletion");
    named(&report, "expiry of 120 snapshots, memory");
}

#[test]
fn bench_compact_refuses_what_it_cannot_measure() {
    for (words, allowed) in [
        ("bench compact --position-deletes 101%", "0% to 100%"),
        ("bench compact --files 4", "5..=100000"),
        ("bench compact --variant x", "both"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        run(&words, &[]).expect(2).complains(&[allowed]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_queue_measures_everything_and_leaves_nothing() {
    let words = "bench queue --jobs 400 --slots 4 --pick-ups 3 --seconds 1 --peers";
    let words: Vec<&str> = words.split(' ').collect();
    let report = measured("snowpack-worker", &words).await;
    let (rate, limit) = (
        number(&report, "jobs_per_second"),
        number(&report, "limit_jobs_per_second"),
    );
    assert!((rate / limit - number(&report, "ratio_to_limit")).abs() < 1e-9);
    let driver = report["limit_driver"].as_str().unwrap();
    assert!(["pgbench", "tokio-postgres"].contains(&driver), "{driver}");
    // The tests do without it; whoever has it is shown it.
    let peers = report["peers"].as_array().unwrap();
    let absent = report["peers_absent"].as_array().unwrap();
    assert_eq!(peers.len() + absent.len(), 1, "{report:#}");
    for peer in peers {
        let ratio = rate / number(peer, "jobs_per_second");
        assert!((ratio - number(peer, "ratio")).abs() < 1e-9, "{peer:#}");
    }
    for name in peers.iter().map(|peer| &peer["name"]).chain(absent) {
        assert_eq!(name, "graphile-worker");
    }
    for what in [
        "queued, 100 a call",
        "queued, 1000 a call",
        "memory, 4 slots",
        "idle worker, commit to claim: p50",
        "worker, start to claim: slowest",
        "idle worker, memory",
        "idle worker, CPU in a minute",
    ] {
        named(&report, what);
    }
    for (slots, jobs) in [(4, 400), (2, 40)] {
        let figure = named(&report, &format!("claimed and finished, {slots} slots"));
        assert_eq!(figure["peer"]["what"], "limit", "{figure}");
        let did = figure["did"].as_str().unwrap();
        assert!(did.starts_with(&format!("{jobs} jobs")), "{figure}");
    }
    let p99 = named(&report, "idle worker, commit to claim: p99");
    assert_eq!(p99["did"], "3 jobs, one after the other");
}
