//! `snowpack-api check`: what `helm test` asks of an installation.

use std::path::Path;
use std::process::Output;

use testkit::Database;

use crate::lake::{self, CATALOG};
use crate::server::{API, OPEN, Server, cache};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SHA256: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

async fn check(words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(API);
    command.env_remove("SNOWPACK_DATABASE_URL");
    command.arg("check").args(words).output().await.unwrap()
}

/// Demands that it ended with `code` and said `wanted`.
#[track_caller]
fn ended(run: &Output, code: i32, wanted: &str) {
    let said = [&run.stdout[..], &run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(run.status.code(), Some(code), "{said}");
    assert!(said.contains(wanted), "no `{wanted}` in: {said}");
}

#[tokio::test]
async fn m06_a_dry_run_is_asked_for_and_read_back_with_the_role_it_needs() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    lake::table(&database, &folder, "db.events").await;
    cache(&database, &["events"]).await;
    let file = |name: &str| folder.path().join(name);
    let entry = |role: &str| {
        format!("[[token]]\nname = \"check\"\nrole = \"{role}\"\nsha256 = \"{SHA256}\"\n")
    };
    std::fs::write(file("token"), format!("{TOKEN}\n")).unwrap();
    for (role, code, wanted) in [
        ("operator", 0, "of db.events was planned and read back"),
        ("reader", 1, "403"),
    ] {
        std::fs::write(file("tokens.toml"), entry(role)).unwrap();
        let server = guarded(&database, &file("tokens.toml")).await;
        let url = format!("http://{}/", server.address);
        let token = file("token");
        let with_token = ["--url", &url, "--token-file", token.to_str().unwrap()];
        ended(&check(&with_token).await, code, wanted);
        ended(&check(&["--url", &url]).await, 1, "401");
        if code == 0 {
            let absent = check(&[&["db.absent"], &with_token[..]].concat()).await;
            ended(&absent, 1, "/tables/db/absent/maintenance was answered 404");
        }
        server.stop(&[]).await;
    }
}

async fn guarded(database: &Database, file: &Path) -> Server {
    let own = [
        ("SNOWPACK_AUTH", "tokens"),
        ("SNOWPACK_TOKENS_FILE", file.to_str().unwrap()),
        ("SNOWPACK_CATALOG_NAME", CATALOG),
    ];
    Server::with(database.url(), &own).await
}

#[tokio::test]
async fn an_empty_lakehouse_is_whole_too_and_nobody_there_is_not() {
    let database = Database::new().await;
    cache(&database, &[]).await;
    let server = Server::start(&database).await;
    let url = format!("http://{}", server.address);
    ended(&check(&["--url", &url]).await, 0, "holds no table");
    server.stop(&[OPEN]).await;
    let gone = check(&["--url", &url, "--timeout", "0"]).await;
    ended(&gone, 1, "readyz was not ready within 0 s");
    let wrong = check(&["--url", "ftp://host"]).await;
    ended(&wrong, 2, "allowed: http://HOST:PORT");
}
