//! What people get wrong at first: each says once, in one line, what is the matter, and heals where
//! it can without a restart.

use serde_json::{Value, json};
use testkit::until;

use crate::release::{API_PORT, Release, WORKERS};

/// The worker's pod once Kubernetes says this of the container that waits for the database.
async fn waits(release: &Release, state: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("a pod is {state}"), async || {
        let pods = release.workers();
        let statuses = pods
            .iter()
            .map(|pod| &pod["status"]["initContainerStatuses"][0]);
        let found_one = statuses
            .clone()
            .find(|one| one["state"].get(state).is_some());
        found = found_one.cloned().unwrap_or_default();
        !found.is_null()
    })
    .await;
    found
}

/// The only line that waiting for the database has logged so far.
async fn said(release: &Release) -> String {
    let mut log = String::new();
    until("there is a line", async || {
        let pods = release.workers();
        let pod = pods[0]["metadata"]["name"].as_str().expect("a name");
        let logs = ["logs", pod, "--container", "wait-for-db"];
        log = release.namespace.try_kubectl(&logs, "").unwrap_or_default();
        !log.is_empty()
    })
    .await;
    assert_eq!(log.lines().count(), 1, "{log}");
    log
}

/// A Secret of that name with this as the database's URL.
fn url(release: &Release, secret: &str, url: &str) {
    release.namespace.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret},
        "stringData": {"database-url": url},
    }));
}

#[tokio::test]
async fn an_installation_without_its_secret_or_with_no_url_in_it_fails_at_once_and_says_why() {
    let release = Release::prepare("secretless").await;
    url(
        &release,
        "malformed",
        "10.97.0.1:5432/snowpack?password=hunter2",
    );
    for secret in ["absent", "malformed"] {
        let values = json!({"database": {"existingSecret": secret}});
        let install = ["--wait", "--timeout", "60s"];
        let why = release.try_begin("install", values, &install).unwrap_err();
        assert!(why.contains("migrate"), "{why}");
        let selector = "app.kubernetes.io/component=migrate";
        let log = release
            .namespace
            .kubectl(&["logs", "--selector", selector, "--tail=-1"]);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("SNOWPACK_DATABASE_URL"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        release.command("uninstall", &["--wait"]);
    }
    // Pods that somebody else let in say it through Kubernetes.
    let values = json!({"database": {"existingSecret": "absent"}});
    release.begin("install", values, &["--no-hooks"]);
    until("the secret is named", async || {
        let found = waits(&release, "waiting").await;
        let waiting = &found["state"]["waiting"];
        let message = waiting["message"].as_str().unwrap_or_default();
        waiting["reason"] == "CreateContainerConfigError" && message.contains("\"absent\"")
    })
    .await;
    release.never_restarted(WORKERS);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_one_line_that_says_where_and_not_the_password() {
    for (name, database, expected) in [
        (
            "nobody",
            "postgres://me:hunter2@10.97.0.1:1/snowpack",
            "10.97.0.1:1",
        ),
        (
            "nowhere",
            "postgres://postgres:hunter2@10.97.0.1/nowhere",
            "nowhere",
        ),
    ] {
        let release = Release::prepare(name).await;
        url(&release, "wrong", database);
        let values = json!({"database": {"existingSecret": "wrong"}});
        release.begin("install", values, &["--no-hooks"]);
        let said = said(&release).await;
        assert!(
            said.contains(expected) && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_unmigrated_database_is_waited_for_and_a_newer_one_is_refused_in_one_line() {
    let release = Release::prepare("unmigrated").await;
    release.begin("install", json!({}), &["--no-hooks"]);
    let line = said(&release).await;
    assert!(line.contains("run `snowpack migrate`"), "{line}");
    assert_eq!(
        waits(&release, "running").await["restartCount"],
        0,
        "it waits"
    );
    release.helm("upgrade", json!({}));
    release.workers_ready(1).await;
    assert_eq!(waits(&release, "terminated").await["restartCount"], 0);

    let client = release.house.database.client().await;
    let newer = "insert into snowpack.schema_migrations \
                 (number, name, checksum, oldest_binary_schema) values (9999, 'newer', '', 9999)";
    client.batch_execute(newer).await.unwrap();
    assert_eq!(
        release.ask("GET", API_PORT, "/readyz").await.0,
        200,
        "what runs goes on"
    );
    let delete = ["delete", "pods", "--selector", WORKERS, "--wait=false"];
    release.namespace.kubectl(&delete);
    waits(&release, "waiting").await;
    let line = said(&release).await;
    assert!(
        line.contains("needs a program that knows version 9999"),
        "{line}"
    );
}
