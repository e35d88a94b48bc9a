//! What a worker needs to start, and what it says when it cannot.

use testkit::{Database, Process, until};

use crate::lakehouse::{Lakehouse, WORKER, admin, readiness};

const URL: (&str, &str) = (
    "SNOWPACK_DATABASE_URL",
    "postgres://user:hunter2@127.0.0.1:1/db",
);

/// Starts with `variables`; demands the exit code and this one line.
async fn refuses(variables: &[(&str, &str)], code: i32, want: &str) {
    let worker = Process::start(WORKER, variables, &[]);
    let status = worker.ended().await;
    let log = worker.log();
    assert_eq!(status.code(), Some(code), "{log}");
    let last = log.lines().last().unwrap();
    assert_eq!(last, format!("snowpack-worker: {want}"), "{variables:?}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn bad_settings_are_refused_with_variable_value_and_what_is_allowed() {
    for (variable, why) in [
        (
            ("SNOWPACK_WORKER_SLOTS", "0"),
            "allowed: a whole number from 1 to 256",
        ),
        (
            ("SNOWPACK_WORKER_SLOTS", "many"),
            "allowed: a whole number from 1 to 256",
        ),
        (
            ("SNOWPACK_LEASE_SECONDS", "1"),
            "allowed: a whole number from 2 to 600",
        ),
        (
            ("SNOWPACK_LEASE_SECONDS", "601"),
            "allowed: a whole number from 2 to 600",
        ),
        (
            ("SNOWPACK_STALL_SECONDS", "-1"),
            "allowed: a whole number from 1 to 86400",
        ),
        (
            ("SNOWPACK_MEMORY_BYTES", "1000"),
            "allowed: a whole number, 67108864 or more",
        ),
        (
            ("SNOWPACK_MAX_JOBS", "0"),
            "allowed: a whole number, 1 or more",
        ),
        (("SNOWPACK_CATALOG_TYPE", "glue"), "allowed: sql, rest"),
        (
            ("SNOWPACK_WORKER_POOLS", "a b"),
            "allowed: names of 1 to 63 letters, digits, `_`, `-`, `.`, separated by commas",
        ),
        (
            ("SNOWPACK_ADMIN_ADDR", "localhost"),
            "allowed: an IP address and a port, as in 127.0.0.1:9090 or [::1]:9090",
        ),
        (("SNOWPACK_LOG_FORMAT", "xml"), "allowed: json, text"),
        (
            ("SNOWPACK_LOG", "loud"),
            "`loud` is no level; allowed: off, error, warn, info, debug, trace, or \
             module=level, separated by commas",
        ),
    ] {
        let (name, value) = variable;
        let want = format!("environment variable {name} = `{value}`: {why}");
        refuses(&[URL, variable], 2, &want).await;
    }
}

#[tokio::test]
async fn unknown_settings_are_refused_with_the_nearest_name() {
    let want = "environment variable SNOWPACK_WORKER_SLOT is unknown; did you mean \
                SNOWPACK_WORKER_SLOTS?";
    refuses(&[URL, ("SNOWPACK_WORKER_SLOT", "4")], 2, want).await;
    let want = "missing: --database-url <DATABASE_URL> (or SNOWPACK_DATABASE_URL in the \
                environment); see --help";
    refuses(&[("SNOWPACK_API_PORT", "tcp://10.0.0.1:80")], 2, want).await;
}

/// Starts with this configuration file and `variables`; what it said last, and the code.
async fn configured(text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snowpack.toml");
    std::fs::write(&path, text).unwrap();
    let worker = Process::start(WORKER, variables, &["--config", path.to_str().unwrap()]);
    let status = worker.ended().await;
    let log = worker.log();
    assert!(!log.contains("hunter2"), "{log}");
    let last = log.lines().last().unwrap_or_default();
    (status.code(), last.replace(path.to_str().unwrap(), "FILE"))
}

#[tokio::test]
async fn a_file_may_hold_every_setting_and_its_mistakes_are_named() {
    let good = format!(
        "database_url = '{}'\nadmin_addr = '127.0.0.1:0'\nstart_seconds = 0\n\
         worker_pools = ['large', 'small']\nexit_when_idle = true\nscaler_token = 'hunter2'\n",
        URL.1
    );
    let (code, last) = configured(&good, &[]).await;
    assert_eq!(code, Some(1), "{last}");
    let begins = "snowpack-worker: connect to Postgres at 127.0.0.1:1, database db: ";
    assert!(last.starts_with(begins), "{last}");
    let (code, last) = configured(&good, &[("SNOWPACK_WORKER_SLOTS", "0")]).await;
    let want = "snowpack-worker: environment variable SNOWPACK_WORKER_SLOTS = `0`: allowed: a \
                whole number from 1 to 256";
    assert_eq!((code, last.as_str()), (Some(2), want));
    for (line, why) in [
        (
            "worker_slots = 0",
            "worker_slots = `0`: allowed: a whole number from 1 to 256",
        ),
        (
            "worker_slot = 2",
            "key `worker_slot` is unknown; did you mean worker_slots?",
        ),
        ("max_jobs = [1]", "max_jobs: a list; allowed: one value"),
    ] {
        let (code, last) = configured(&format!("{good}{line}\n"), &[]).await;
        let want = format!("snowpack-worker: configuration file FILE: {why}");
        assert_eq!((code, last), (Some(2), want));
    }
}

#[tokio::test]
async fn what_is_reserved_or_unreadable_is_bad_usage() {
    let local = ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0");
    for (variables, named) in [
        (
            vec![URL, ("SNOWPACK_S3_ACCESS_KEY_ID", "alone")],
            "SNOWPACK_S3_SECRET_ACCESS_KEY",
        ),
        (
            vec![("SNOWPACK_DATABASE_URL", "mysql://hunter2@h/d")],
            "SNOWPACK_DATABASE_URL",
        ),
    ] {
        let worker = Process::start(WORKER, &[&variables[..], &[local]].concat(), &[]);
        let status = worker.ended().await;
        let log = worker.log();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.lines().last().unwrap().contains(named), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    let database = Database::new().await;
    let here = ("SNOWPACK_DATABASE_URL", database.url());
    let rest = ("SNOWPACK_CATALOG_TYPE", "rest");
    let want = "a REST catalog needs SNOWPACK_CATALOG_URI, as in https://catalog.example/api";
    refuses(&[here, local, rest], 2, want).await;
}

#[tokio::test]
async fn an_absent_postgres_is_waited_for_and_then_named() {
    let local = ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0");
    let worker = Process::start(WORKER, &[URL, local, ("SNOWPACK_START_SECONDS", "1")], &[]);
    worker.logged("waiting to start").await;
    let status = worker.ended().await;
    let log = worker.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("snowpack-worker: connect to Postgres at 127.0.0.1:1, database db: "),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_worker_that_waits_for_postgres_is_alive_and_not_ready_and_can_be_stopped() {
    let local = ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0");
    let worker = Process::start(WORKER, &[URL, local], &[]);
    worker.logged("waiting to start").await;
    let address = admin(&worker).await;
    assert_eq!(testkit::get(address, "/healthz", &[]).await.0, 200);
    let starting = (503, "not ready: starting\n".to_owned());
    assert_eq!(testkit::get(address, "/readyz", &[]).await, starting);
    worker.signal("TERM");
    worker.ended_with(0, &["waiting to start"]).await;
}

#[tokio::test]
async fn a_database_without_our_tables_is_named_with_the_command_that_makes_them() {
    let database = Database::empty().await;
    let variables = [
        ("SNOWPACK_DATABASE_URL", database.url()),
        ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_START_SECONDS", "0"),
    ];
    let want = format!(
        "schema snowpack is not in the database and version {} is needed: run `snowpack migrate`",
        maintenance::SCHEMA_VERSION
    );
    refuses(&variables, 1, &want).await;
}

#[tokio::test]
async fn the_admin_server_answers_for_a_running_worker() {
    let house = Lakehouse::new().await;
    let worker = house.worker(&[("SNOWPACK_WORKER_SLOTS", "3")], &[]);
    readiness(&worker, 200).await;
    let address = admin(&worker).await;
    let mut page = String::new();
    until("the worker is active", async || {
        page = testkit::get(address, "/metrics", &[]).await.1;
        page.contains("\nsnowpack_workers_active 1\n")
    })
    .await;
    for line in [
        "snowpack_worker_slots 3",
        "snowpack_worker_jobs_running 0",
        "snowpack_build_info{program=\"snowpack-worker\",version=\"0.1.0\"} 1",
    ] {
        assert!(
            page.lines().any(|other| other == line),
            "{line} is not in\n{page}"
        );
    }
    assert_eq!(
        testkit::request(address, "POST", "/metrics", &[]).await.0,
        405
    );
    assert_eq!(testkit::get(address, "/nothing", &[]).await.0, 404);
    worker.signal("TERM");
    worker.ended_with(0, &[]).await;
}

#[tokio::test]
async fn freed_memory_is_given_back_at_once_unless_somebody_says_otherwise() {
    let local = ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0");
    for (told, want) in [(None, "0"), (Some(("MIMALLOC_PURGE_DELAY", "70")), "70")] {
        let variables: Vec<_> = [URL, local].into_iter().chain(told).collect();
        let worker = Process::start(WORKER, &variables, &[]);
        worker.logged("waiting to start").await;
        let of = |name| format!("/proc/{}/{name}", worker.id());
        let environment = std::fs::read_to_string(of("environ")).unwrap();
        let want = format!("MIMALLOC_PURGE_DELAY={want}");
        assert!(environment.split('\0').any(|line| line == want));
        // It is still called what it was started as.
        let name = std::fs::read_to_string(of("comm")).unwrap();
        assert_eq!(name, "snowpack-worker\n");
        worker.signal("TERM");
        worker.ended_with(0, &["waiting to start"]).await;
    }
}
