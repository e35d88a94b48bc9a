//! The OpenAPI document and the API are of one mind: judged by schemathesis, which makes requests
//! that fit the document and requests that do not, and looks at every answer.

use std::path::Path;
use std::process::Command;

use testkit::{Database, python, seed};

use crate::access::{file, token};
use crate::lake::{CATALOG, table};
use crate::server::{Server, cache, submit};

/// Requests of each kind for each operation; raised by hand when something is looked for.
const EXAMPLES: &str = "10";
/// The same requests in every run, so that a complaint is a change's and not a throw's; other ones
/// are tried by hand with `SNOWPACK_TEST_SEED`.
const SEED: u64 = 5_929_875_497_854_936_397;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_answered_in_a_way_that_is_not_documented() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    table(&database, &folder, "db.events").await;
    cache(&database, &["events"]).await;
    let job = submit(&database, "events").await;
    let tokens = file(&folder);
    let server = Server::with(
        database.url(),
        &[
            ("SNOWPACK_AUTH", "tokens"),
            ("SNOWPACK_TOKENS_FILE", tokens.to_str().unwrap()),
            ("SNOWPACK_CATALOG_NAME", CATALOG),
            ("SNOWPACK_RATE_PER_SECOND", "100000"),
        ],
    )
    .await;
    let settings = Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = settings.join("../../tests/oracle/schemathesis.toml");
    let asked = std::env::var_os("SNOWPACK_TEST_SEED").map(|_| seed());
    let seed = asked.unwrap_or(SEED) % u64::from(u32::MAX);
    // Names of all kinds first; then those that are there, so that routes get to their work.
    judge(&server, &settings, &folder, seed);
    let known = format!(
        "{}\n[parameters]\n\"path.database\" = \"db\"\n\"path.table\" = \"events\"\n\
         \"path.job_id\" = \"{job}\"\n\"path.lane\" = \"snowpack\"\n\"path.run_id\" = 1\n",
        std::fs::read_to_string(&settings).unwrap()
    );
    let settings = folder.path().join("known.toml");
    std::fs::write(&settings, known).unwrap();
    judge(&server, &settings, &folder, seed);
    server.stop(&[]).await;
}

/// Fails with all that schemathesis has to say.
#[track_caller]
fn judge(server: &Server, settings: &Path, folder: &tempfile::TempDir, seed: u64) {
    let bearer = format!("Authorization: Bearer {}", token("admin"));
    let judged = Command::new(python())
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(settings)
        .args(["run", &format!("http://{}/openapi.json", server.address)])
        .args(["--header", &bearer, "--seed", &seed.to_string()])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            EXAMPLES,
        ])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(folder)
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&judged.stdout);
    let wrong = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{told}\n{wrong}");
    assert!(!told.contains("unresolvable reference"), "{told}");
}
