//! Running `snowpack`, and a table for it made by PyIceberg.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Database;

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no single JSON document ({error}): {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Demands that all of this was said on standard error.
    #[track_caller]
    pub(crate) fn complains(self, of: &[&str]) -> Self {
        for what in of {
            assert!(self.stderr.contains(what), "{what} is missing in {self:#?}");
        }
        self
    }
}

/// The program with these settings and no other.
pub(crate) fn command(words: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snowpack"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNOWPACK_") {
            command.env_remove(name);
        }
    }
    command
        .args(words)
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command
}

#[track_caller]
pub(crate) fn run(words: &[&str], settings: &[(&str, &str)]) -> Ran {
    finish(&mut command(words, settings), words)
}

#[track_caller]
fn finish(command: &mut Command, words: &[&str]) -> Ran {
    let output = command.output().expect("run snowpack");
    Ran {
        code: output
            .status
            .code()
            .unwrap_or_else(|| panic!("{} for {words:?}", output.status)),
        stdout: String::from_utf8(output.stdout).expect("standard output is text"),
        stderr: String::from_utf8(output.stderr).expect("standard error is text"),
    }
}

/// A migrated database and a warehouse.
#[derive(Debug)]
pub(crate) struct Lake {
    pub(crate) database: Database,
    catalog: &'static str,
    warehouse: TempDir,
}

impl Lake {
    pub(crate) async fn new() -> Self {
        Self::named("lake").await
    }

    /// With a catalog of this name in its database.
    pub(crate) async fn named(catalog: &'static str) -> Self {
        let database = Database::new().await;
        Self {
            database,
            catalog,
            warehouse: tempfile::tempdir().expect("make a folder"),
        }
    }

    pub(crate) fn settings(&self) -> [(&str, &str); 3] {
        let warehouse = self
            .warehouse
            .path()
            .to_str()
            .expect("a temporary folder has a plain name");
        [
            ("SNOWPACK_DATABASE_URL", self.database.url()),
            ("SNOWPACK_CATALOG_NAME", self.catalog),
            ("SNOWPACK_WAREHOUSE", warehouse),
        ]
    }

    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        run(words, &self.settings())
    }

    /// What work without a database is told.
    pub(crate) fn alone_settings(&self) -> [(&str, &str); 2] {
        [
            ("SNOWPACK_CATALOG_URI", self.database.url()),
            ("SNOWPACK_CATALOG_NAME", self.catalog),
        ]
    }

    /// Runs on the catalog alone, in the warehouse's folder.
    #[track_caller]
    pub(crate) fn alone(&self, words: &[&str]) -> Ran {
        let mut command = command(words, &self.alone_settings());
        finish(command.current_dir(self.folder()), words)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.warehouse.path()
    }

    #[track_caller]
    fn oracle(&self, task: &Value) -> Value {
        let mut whole = json!({
            "database_url": self.database.url(),
            "catalog": self.catalog,
            "warehouse": self.warehouse.path(),
        });
        whole
            .as_object_mut()
            .expect("it is one")
            .extend(task.as_object().expect("it is one").clone());
        testkit::oracle("cli_tables", &whole)
    }

    /// Has PyIceberg make a table of so many files; gives back its rows.
    #[track_caller]
    pub(crate) fn make(&self, table: &str, files: u32) -> Value {
        self.make_with(table, files, &json!({}))
    }

    /// The same, with these table properties.
    #[track_caller]
    pub(crate) fn make_with(&self, table: &str, files: u32, properties: &Value) -> Value {
        self.oracle(&json!({
            "do": "make", "table": table, "files": files, "rows": 100, "properties": properties,
        }))
    }

    /// Writes a file of ten bytes into the table's folder that nothing refers to, as if four days ago.
    pub(crate) fn stray(&self, table: &str, name: &str) -> PathBuf {
        let path = self.folder().join(table.replace('.', "/")).join(name);
        std::fs::write(&path, "0123456789").unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let old = SystemTime::now() - Duration::from_hours(96);
        file.set_modified(old).unwrap();
        path
    }

    #[track_caller]
    pub(crate) fn read(&self, table: &str) -> Value {
        self.oracle(&json!({ "do": "read", "table": table }))
    }
}

/// A program left running. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    child: std::process::Child,
    folder: TempDir,
}

impl Background {
    pub(crate) fn start(words: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let file =
            |name: &str| std::fs::File::create(folder.path().join(name)).expect("make a file");
        let child = command(words, settings)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("start snowpack");
        Self { child, folder }
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).expect("read its output")
    }

    /// By name, as in `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("run sh")
                .success(),
            "{kill}"
        );
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ran {
        testkit::until("snowpack ends", async || {
            self.child.try_wait().expect("look at it").is_some()
        })
        .await;
        let status = self.child.wait().expect("it has ended");
        let stderr =
            std::fs::read_to_string(self.folder.path().join("stderr")).expect("read its log");
        // Killed by a signal: no code.
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout(),
            stderr,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
