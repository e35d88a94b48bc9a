//! The configuration file.

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
fn help_is_given_in_spite_of_a_wrong_file_and_names_the_flag_once() {
    for words in ["--config /nowhere --help", "jobs --config /nowhere --help"] {
        let words: Vec<&str> = words.split(' ').collect();
        let help = run(&words, &[]).expect(0).stdout;
        assert_eq!(help.matches("--config <FILE>").count(), 1, "{help}");
    }
    let script = run(&["completions", "bash"], &[]).expect(0).stdout;
    assert!(script.contains("--config"));
}
