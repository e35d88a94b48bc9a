//! Variables that start with `SNOWPACK_` but mean nothing are refused: a typo must not run a
//! fleet with a default nobody chose.

use std::collections::BTreeSet;

use clap::Command;

pub(crate) const PREFIX: &str = "SNOWPACK_";

/// Variables of the test suite; programs started by a test, or in a shell prepared for tests,
/// ignore them.
const TEST_PREFIX: &str = "SNOWPACK_TEST_";

/// Every setting of every program of this release. One environment (a shell, a `.env` file, a
/// ConfigMap) may serve them all, so each program accepts the settings of the others and
/// ignores them. Each binary tests that its own are listed.
pub const SETTINGS: &[&str] = &[
    "SNOWPACK_ADMIN_ADDR",
    "SNOWPACK_API_ADDR",
    "SNOWPACK_API_LINGER_SECONDS",
    "SNOWPACK_API_PROXIES",
    "SNOWPACK_API_TLS_CERT_FILE",
    "SNOWPACK_API_TLS_KEY_FILE",
    "SNOWPACK_AUTH",
    "SNOWPACK_AUTH_INSECURE",
    "SNOWPACK_CACHE_AGE_MAX_SECONDS",
    "SNOWPACK_CACHE_SYNC_SECONDS",
    "SNOWPACK_CADENCE_HOURS",
    "SNOWPACK_CATALOG_CREDENTIAL",
    "SNOWPACK_CATALOG_NAME",
    "SNOWPACK_CATALOG_OAUTH2_URI",
    "SNOWPACK_CATALOG_SCOPE",
    "SNOWPACK_CATALOG_TOKEN",
    "SNOWPACK_CATALOG_TYPE",
    "SNOWPACK_CATALOG_URI",
    "SNOWPACK_CATALOG_WAREHOUSE",
    "SNOWPACK_CONFIG",
    "SNOWPACK_DATABASE_URL",
    "SNOWPACK_DRY_RUN",
    "SNOWPACK_ENROLMENT",
    "SNOWPACK_EXIT_WHEN_IDLE",
    "SNOWPACK_GB_HOURS_MAX_PER_RUN",
    "SNOWPACK_GRACE_SECONDS",
    "SNOWPACK_HEALTH_CONCURRENCY",
    "SNOWPACK_HEALTH_DEADLINE_SECONDS",
    "SNOWPACK_HEALTH_RETENTION_DAYS",
    "SNOWPACK_HEALTH_SYNC_CRONJOB",
    "SNOWPACK_HEALTH_TABLE_SECONDS",
    "SNOWPACK_HISTORY_RETENTION_DAYS",
    "SNOWPACK_JOBS_MAX_LIVE",
    "SNOWPACK_JOBS_MAX_PER_DATABASE",
    "SNOWPACK_JOBS_MAX_PER_RUN",
    "SNOWPACK_JWKS_PAUSE_SECONDS",
    "SNOWPACK_JWKS_URL",
    "SNOWPACK_JWT_AUDIENCE",
    "SNOWPACK_JWT_ISSUER",
    "SNOWPACK_JWT_ROLE_CLAIM",
    "SNOWPACK_LEASE_NAME",
    "SNOWPACK_LEASE_SECONDS",
    "SNOWPACK_LISTEN_URL",
    "SNOWPACK_LOCATIONS",
    "SNOWPACK_LOG",
    "SNOWPACK_LOG_FORMAT",
    "SNOWPACK_MAX_JOBS",
    "SNOWPACK_MAX_SNAPSHOT_AGE_DAYS",
    "SNOWPACK_MEMORY_BYTES",
    "SNOWPACK_MIN_INPUT_FILES",
    "SNOWPACK_ORCHESTRATOR_CRONJOB",
    "SNOWPACK_PARTIAL_PROGRESS_MAX_COMMITS",
    "SNOWPACK_PG_CONNECTIONS_MAX",
    "SNOWPACK_POD_NAME",
    "SNOWPACK_POD_NAMESPACE",
    "SNOWPACK_POD_UID",
    "SNOWPACK_RATE_PER_SECOND",
    "SNOWPACK_RETENTION_DAYS",
    "SNOWPACK_REWRITE_DATA_DELETE_FILE_THRESHOLD",
    "SNOWPACK_REWRITE_DATA_DELETE_RATIO_THRESHOLD",
    "SNOWPACK_RUNS_RETENTION_DAYS",
    "SNOWPACK_S3_ACCESS_KEY_ID",
    "SNOWPACK_S3_ENDPOINT",
    "SNOWPACK_S3_PATH_STYLE",
    "SNOWPACK_S3_REGION",
    "SNOWPACK_S3_SECRET_ACCESS_KEY",
    "SNOWPACK_S3_SESSION_TOKEN",
    "SNOWPACK_SCALER_ADDR",
    "SNOWPACK_SCALER_GRPC_ADDR",
    "SNOWPACK_SCALER_TLS_CERT_FILE",
    "SNOWPACK_SCALER_TLS_KEY_FILE",
    "SNOWPACK_SCALER_TOKEN",
    "SNOWPACK_STALL_SECONDS",
    "SNOWPACK_START_SECONDS",
    "SNOWPACK_TABLES_EXCLUDE",
    "SNOWPACK_TABLES_INCLUDE",
    "SNOWPACK_TARGET_FILE_SIZE_BYTES",
    "SNOWPACK_TOKENS_FILE",
    "SNOWPACK_TRIGGERED_BY",
    "SNOWPACK_WAIT_SECONDS",
    "SNOWPACK_WAREHOUSE",
    "SNOWPACK_WORKER_NAME",
    "SNOWPACK_WORKER_POOLS",
    "SNOWPACK_WORKER_SLOTS",
];

/// Names the first variable (by name) that no program knows, with the nearest known one.
pub(crate) fn check(command: &Command, names: impl Iterator<Item = String>) -> Result<(), String> {
    let known = known(command);
    let unknown = names
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX))
        .filter(|name| !known.contains(name) && !injected_by_kubernetes(name))
        .min();
    match unknown {
        None => Ok(()),
        Some(name) => Err(refusal(&name, &known)),
    }
}

/// The settings of every program.
pub(crate) fn known(command: &Command) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = SETTINGS.iter().map(|name| (*name).to_owned()).collect();
    collect(command, &mut known);
    known
}

/// The variables `command` and its subcommands read.
fn collect(command: &Command, known: &mut BTreeSet<String>) {
    known.extend(
        command
            .get_arguments()
            .filter_map(clap::Arg::get_env)
            .map(|name| name.to_string_lossy().into_owned()),
    );
    for subcommand in command.get_subcommands() {
        collect(subcommand, known);
    }
}

/// A service named `snowpack-api` makes Kubernetes set `SNOWPACK_API_SERVICE_HOST`,
/// `SNOWPACK_API_SERVICE_PORT_HTTP`, `SNOWPACK_API_PORT` and `SNOWPACK_API_PORT_80_TCP_ADDR`
/// in every pod of its namespace. No setting's name ends in `_PORT`.
fn injected_by_kubernetes(name: &str) -> bool {
    let numbered = name.split("_PORT_").skip(1).any(|rest| {
        rest.split('_')
            .next()
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || numbered
}

fn refusal(name: &str, known: &BTreeSet<String>) -> String {
    // Farther than half its own letters, a suggestion is noise.
    let near = (name.len() - PREFIX.len()) / 2;
    if let Some(nearest) = nearest(name, known.iter(), near) {
        return format!("environment variable {name} is unknown; did you mean {nearest}?");
    }
    let all: Vec<&str> = known.iter().map(String::as_str).collect();
    format!(
        "environment variable {name} is unknown; known are {}",
        all.join(", ")
    )
}

/// The candidate that is at most `near` letters away, and the least.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a String>,
    near: usize,
) -> Option<&'a String> {
    let distances = candidates.map(|candidate| (distance(name, candidate), candidate));
    let near = distances.filter(|(distance, _)| *distance <= near);
    near.min().map(|(_, candidate)| candidate)
}

/// Letters to insert, drop or change to turn one name into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("program")
            .arg(
                clap::Arg::new("depth")
                    .long("depth")
                    .env("SNOWPACK_DEPTH_METERS"),
            )
            .subcommand(
                Command::new("dig")
                    .arg(clap::Arg::new("spade").long("spade").env("SNOWPACK_SPADE")),
            )
    }

    fn checked(names: &[&str]) -> Result<(), String> {
        check(&command(), names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn own_settings_those_of_subcommands_and_of_other_programs_are_known() {
        assert_eq!(
            checked(&["SNOWPACK_DEPTH_METERS", "SNOWPACK_SPADE", "SNOWPACK_LOG"]),
            Ok(())
        );
        assert_eq!(
            checked(&["PATH", "SNOWPACKER", "SNOWPACK_TEST_PYTHON"]),
            Ok(())
        );
    }

    #[test]
    fn a_typo_is_refused_with_the_nearest_name() {
        for (name, nearest) in [
            ("SNOWPACK_WORKER_SLOT", "SNOWPACK_WORKER_SLOTS"),
            ("SNOWPACK_LEASE_SECS", "SNOWPACK_LEASE_SECONDS"),
            ("SNOWPACK_DATABSE_URL", "SNOWPACK_DATABASE_URL"),
            ("SNOWPACK_DEPTH_METRES", "SNOWPACK_DEPTH_METERS"),
        ] {
            let error = checked(&[name]).unwrap_err();
            assert_eq!(
                error,
                format!("environment variable {name} is unknown; did you mean {nearest}?")
            );
        }
    }

    #[test]
    fn a_name_like_no_other_is_refused_with_all_that_are_known() {
        let error = checked(&["SNOWPACK_XYZZY_QQQQQQQ"]).unwrap_err();
        assert!(error.contains("known are SNOWPACK_ADMIN_ADDR, "), "{error}");
    }

    #[test]
    fn what_kubernetes_sets_for_services_is_no_setting() {
        assert_eq!(
            checked(&[
                "SNOWPACK_API_SERVICE_HOST",
                "SNOWPACK_API_SERVICE_PORT",
                "SNOWPACK_API_SERVICE_PORT_HTTP",
                "SNOWPACK_API_PORT",
                "SNOWPACK_API_PORT_8080_TCP",
                "SNOWPACK_API_PORT_8080_TCP_ADDR",
                "SNOWPACK_PORT",
                "SNOWPACK_PORT_80_TCP_PROTO",
            ]),
            Ok(())
        );
        assert!(checked(&["SNOWPACK_PORT_HTTP_X"]).is_err());
    }

    #[test]
    fn no_setting_could_be_taken_for_one_of_a_service() {
        for name in SETTINGS {
            assert!(!injected_by_kubernetes(name), "{name}");
        }
    }

    #[test]
    fn distance_counts_single_letters() {
        for (one, other, want) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), want, "{one} {other}");
        }
    }
}
