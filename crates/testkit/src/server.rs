//! A Postgres server of one test's own, for what cannot be done to the one all tests share:
//! restarted, crashed, failed over, used up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::{Database, Process, until};

/// Another program may take a free port before the server does.
const STARTS_MAX: u32 = 5;
/// Below those the system hands out, so that nobody gets a stopped server's.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A server told to end is looked at this often, and killed after so many looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const ENDS_WITHIN_LOOKS: u32 = 1_000;
/// Below [`crate::WAIT_MAX`], so that what it does instead is told.
const STOPS_WITHIN: Duration = Duration::from_secs(50);

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Open sessions are ended and everything is written down.
    Fast,
    /// As a crash: the next start recovers from the log.
    Immediate,
}

/// A running or stopped server. Ended when dropped, its files with it.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    account: Option<Account>,
    settings: Vec<String>,
    port: u16,
    process: Option<Process>,
    folder: TempDir,
}

impl Server {
    /// A new server with these settings, as in `max_connections=20`.
    ///
    /// # Panics
    /// When Postgres's programs are not there or it does not start.
    pub async fn start(settings: &[&str]) -> Self {
        let server = Self::in_new_folder(settings);
        let data = server.data().display().to_string();
        server.run(
            "initdb",
            &["-A", "trust", "--no-sync", "-U", "postgres", "-D", &data],
        );
        server.on_free_port().await
    }

    /// A standby that follows this server, and does not keep its commits waiting.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn standby(&self) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let standby = Self::in_new_folder(&settings);
        let (port, data) = (self.port.to_string(), standby.data().display().to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        let how = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D", &data];
        standby.run("pg_basebackup", &[&from[..], &how].concat());
        standby.on_free_port().await
    }

    /// Makes a standby the server that is written to.
    pub async fn promote(&self) {
        let client = self.client().await;
        client
            .batch_execute("select pg_promote()")
            .await
            .expect("promote the standby");
    }

    /// Where its database `postgres` is.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A connection to its database `postgres`.
    pub async fn client(&self) -> Client {
        connect(&self.url())
            .await
            .expect("connect to the test's own server")
    }

    /// A database with the maintenance lane migrated.
    pub async fn database(&self) -> Database {
        Database::on(&self.url(), true).await
    }

    /// A database with nothing in it.
    pub async fn empty_database(&self) -> Database {
        Database::on(&self.url(), false).await
    }

    /// # Panics
    /// When it does not run, or does not stop: with what its processes do.
    pub async fn stop(&mut self, how: Stop) {
        let process = self.process.take().expect("the server runs");
        process.signal(match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        });
        let stopped = tokio::time::timeout(STOPS_WITHIN, process.ended()).await;
        assert!(
            stopped.is_ok(),
            "a server told to stop ({how:?}) goes on:\n{}\n{}",
            processes(),
            process.log()
        );
    }

    /// Starts it again, where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        assert!(self.try_start().await, "the port was taken meanwhile");
    }

    fn in_new_folder(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a server");
        let account = Account::needed();
        if let Some(account) = &account {
            account.own(folder.path());
        }
        Self {
            programs: programs(),
            account,
            settings: settings.iter().map(ToString::to_string).collect(),
            port: 0,
            process: None,
            folder,
        }
    }

    async fn on_free_port(mut self) -> Self {
        for _ in 0..STARTS_MAX {
            self.port = rand::random_range(PORTS);
            if self.try_start().await {
                return self;
            }
        }
        panic!("no free port was found in {STARTS_MAX} tries");
    }

    /// False when somebody else has the port.
    async fn try_start(&mut self) -> bool {
        let (data, port) = (self.data().display().to_string(), self.port.to_string());
        let mut arguments = vec!["-D", &data, "-p", &port];
        let own = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            // Whoever connects while it stops and then says nothing keeps it that long.
            "authentication_timeout=10s",
        ];
        let settings = own
            .iter()
            .copied()
            .chain(self.settings.iter().map(String::as_str));
        arguments.extend(settings.flat_map(|setting| ["-c", setting]));
        let process = start_as(
            self.account.as_ref(),
            &self.programs.join("postgres"),
            &arguments,
        );
        let url = self.url();
        until("the test's own server answers", async || {
            !process.running() || connect(&url).await.is_ok()
        })
        .await;
        if !process.running() {
            let log = process.log();
            assert!(log.contains("Address already in use"), "{log}");
            return false;
        }
        self.process = Some(process);
        true
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs one of Postgres's programs to its end.
    fn run(&self, program: &str, arguments: &[&str]) {
        let (first, before) = Account::before(self.account.as_ref(), &self.programs.join(program));
        let output = Command::new(first)
            .args(before)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap_or_else(|error| panic!("run {program}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }
}

impl Drop for Server {
    /// Its children are to be gone before its files are.
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        if std::thread::panicking() {
            eprintln!("the test's own server said:\n{}", process.log());
        }
        if process.running() {
            process.signal("QUIT");
        }
        for _ in 0..ENDS_WITHIN_LOOKS {
            if !process.running() {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whom a program that refuses to run as root runs as.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Postgres's own account or nobody's, for root; otherwise the test's own will do.
    pub(crate) fn needed() -> Option<Self> {
        let asked = |arguments: &[&str]| -> Option<u32> {
            let output = Command::new("id").args(arguments).output().ok()?;
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        };
        if asked(&["-u"]) != Some(0) {
            return None;
        }
        let known = |name: &str| {
            Some(Self {
                name: name.to_owned(),
                uid: asked(&["-u", name])?,
                gid: asked(&["-g", name])?,
            })
        };
        let account = known("postgres").or_else(|| known("nobody"));
        Some(account.expect("an account for Postgres: postgres or nobody"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn own(&self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("give {} to {}: {error}", path.display(), self.name));
    }

    /// What to run instead of `program`, and its first arguments.
    fn before(account: Option<&Self>, program: &Path) -> (String, Vec<String>) {
        let program = program.display().to_string();
        match account {
            None => (program, Vec::new()),
            Some(account) => (
                "setpriv".to_owned(),
                vec![
                    format!("--reuid={}", account.uid),
                    format!("--regid={}", account.gid),
                    "--clear-groups".to_owned(),
                    program,
                ],
            ),
        }
    }
}

/// Starts a program as this account. The process is the program itself, so signals reach it.
fn start_as(account: Option<&Account>, program: &Path, arguments: &[&str]) -> Process {
    let (first, before) = Account::before(account, program);
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    Process::start(first, &[], &[&before[..], arguments].concat())
}

/// The newest server programs of the distribution, else whatever is on PATH.
fn programs() -> PathBuf {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let newest = packaged
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("initdb")
                .exists()
                .then_some((major, programs))
        })
        .max();
    if let Some((_, programs)) = newest {
        return programs;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .expect("Postgres's server programs; Debian: apt-get install postgresql")
}

/// Every process with its state and where in the kernel it waits: a backend's title says what it does.
fn processes() -> String {
    let columns = "pid,ppid,stat,etime,wchan:32,args";
    let output = Command::new("ps").args(["-eo", columns]).output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
