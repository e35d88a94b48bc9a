//! The configuration file, and the settings as they apply.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::program::{Ran, run};

/// A folder with a configuration file in it.
struct Written(TempDir);

impl Written {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("snowpack.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("snowpack.toml")
    }

    /// `words` with `FILE` replaced.
    fn run(&self, words: &str, settings: &[(&str, &str)]) -> Ran {
        let path = self.path();
        let path = path.to_str().unwrap();
        let words: Vec<&str> = words
            .split(' ')
            .map(|word| if word == "FILE" { path } else { word })
            .collect();
        run(&words, settings)
    }
}

const NOWHERE: &str = "database_url = 'postgres://u:hunter2@127.0.0.1:1/nothing'\n";

#[track_caller]
fn holds(ran: &Ran, line: &str) {
    let found = ran.stdout.lines().any(|other| other == line);
    assert!(found, "{line} is not in\n{}", ran.stdout);
}

#[test]
fn a_file_gives_what_is_required_before_and_after_the_command_and_by_its_variable() {
    let file = Written::new(NOWHERE);
    let path = file.path();
    let variable = ("SNOWPACK_CONFIG", path.to_str().unwrap());
    for (words, settings) in [
        ("--config FILE jobs", &[][..]),
        ("jobs --config FILE", &[]),
        ("jobs", &[variable]),
        // The flag wins: this variable's file is not even looked for.
        ("jobs --config FILE", &[("SNOWPACK_CONFIG", "/nowhere")]),
    ] {
        let ran = file.run(words, settings).expect(1);
        let ran = ran.complains(&["127.0.0.1:1", "nothing"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
    run(&["jobs"], &[("SNOWPACK_CONFIG", "")])
        .expect(2)
        .complains(&["SNOWPACK_DATABASE_URL"]);
}

#[test]
fn a_flag_is_above_a_variable_above_the_file_above_the_default() {
    let file = Written::new("lease_seconds = 30\nstall_seconds = 100\nmemory_bytes = 1000000000\n");
    let variables = [
        ("SNOWPACK_LEASE_SECONDS", "40"),
        ("SNOWPACK_STALL_SECONDS", "200"),
    ];
    let words = "maintain --config FILE --print-config --lease-seconds 50";
    let ran = file.run(words, &variables).expect(0);
    holds(&ran, "lease_seconds = 50  # flag");
    holds(&ran, "stall_seconds = 200  # environment");
    holds(&ran, "memory_bytes = 1000000000  # file");
    holds(&ran, "pg_connections_max = 8  # default");
    holds(&ran, "# database_url is not set");
}

#[test]
fn settings_are_printed_with_and_without_a_command_and_secrets_are_masked() {
    let file = Written::new(format!(
        "{NOWHERE}s3_secret_access_key = 'hunter2'\ns3_session_token = 'hunter2'\n"
    ));
    for words in [
        "--config FILE --print-config",
        "--print-config --config FILE jobs --log debug",
        "maintain db.events rewrite_data_files --config FILE --print-config",
    ] {
        let ran = file
            .run(words, &[("SNOWPACK_LOG_FORMAT", "json")])
            .expect(0);
        holds(
            &ran,
            "database_url = \"postgres://u:***@127.0.0.1:1/nothing\"  # file",
        );
        holds(&ran, "s3_secret_access_key = \"***\"  # file");
        holds(&ran, "s3_session_token = \"***\"  # file");
        holds(&ran, "log_format = \"json\"  # environment");
        let level = if words.contains("debug") {
            "log = \"debug\"  # flag"
        } else {
            "log = \"warn\"  # default"
        };
        holds(&ran, level);
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
    }
}

#[test]
fn what_is_printed_is_a_configuration_file() {
    let file =
        Written::new("worker_pools = ['a', 'b']\ncadence_hours = 0.5\nwarehouse = '/a \"b\"'\n");
    let first = file.run("--print-config --config FILE", &[]).expect(0);
    holds(&first, "cadence_hours = 0.5  # file");
    holds(&first, r#"warehouse = "/a \"b\""  # file"#);
    let again = Written::new(&first.stdout);
    let second = again.run("--print-config --config FILE", &[]).expect(0);
    let values = |page: &str| -> Vec<String> {
        let lines = page.lines().map(|line| line.split("  # ").next().unwrap());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(values(&first.stdout), values(&second.stdout));
}

#[test]
fn a_wrong_file_is_refused_naming_file_key_value_and_what_is_allowed() {
    for (text, named) in [
        (
            &b"lease_seconds = 1"[..],
            &["lease_seconds = `1`", "2..=600"][..],
        ),
        (b"lease_secs = 60", &["`lease_secs`", "lease_seconds"]),
        (
            b"catalog_type = 'glue'",
            &["catalog_type = `glue`", "sql, rest"],
        ),
        (b"warehouse = [1, 2]", &["warehouse: a list", "one value"]),
        (b"log = \xff", &["UTF-8"]),
        (b"log", &["line 1"]),
    ] {
        let file = Written::new(text);
        let ran = file.run("jobs --config FILE", &[]).expect(2);
        let ran = ran.complains(named);
        ran.complains(&["configuration file /", "snowpack.toml"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    run(&["--config", folder, "jobs"], &[])
        .expect(2)
        .complains(&[folder, "directory"]);
    run(&["--config", "/nowhere.toml", "jobs"], &[])
        .expect(2)
        .complains(&["/nowhere.toml", "No such file"]);
    run(&["jobs", "--config"], &[])
        .expect(2)
        .complains(&["--config"]);
}

#[test]
fn help_is_given_in_spite_of_a_wrong_file_and_names_both_flags_once() {
    for words in ["--config /nowhere --help", "jobs --config /nowhere --help"] {
        let words: Vec<&str> = words.split(' ').collect();
        let help = run(&words, &[]).expect(0).stdout;
        assert_eq!(help.matches("--config <FILE>").count(), 1, "{help}");
        assert_eq!(help.matches("--print-config").count(), 1, "{help}");
    }
    let script = run(&["completions", "bash"], &[]).expect(0).stdout;
    assert!(script.contains("--print-config"));
}
