//! A PgBouncer in transaction pooling before a server: a session lasts one transaction.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::server::Account;
use crate::{Database, Process, until};

/// Another program may take a free port before it does.
const STARTS_MAX: u32 = 5;

/// Connections to the server: fewer than its clients are, so that they change hands.
const SERVER_CONNECTIONS: u32 = 3;

/// A running pooler. Ended when dropped.
#[derive(Debug)]
pub struct Pooler {
    // First, so that it has ended before its folder goes.
    process: Process,
    url: String,
    _folder: TempDir,
}

impl Pooler {
    /// Starts before the server of `database`. With `prepared`, it keeps named statements for its
    /// clients (`max_prepared_statements`); without, a name is known to one connection by chance.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(database: &Database, prepared: bool) -> Self {
        let program = std::env::var("SNOWPACK_TEST_PGBOUNCER")
            .expect("SNOWPACK_TEST_PGBOUNCER names a pgbouncer 1.21 or newer; tests/run sets it");
        let folder = tempfile::tempdir().expect("a folder for a pooler");
        let account = Account::needed();
        // Root's programs may lie where nobody else can read them, so it changes to it by itself.
        let user = account.map_or(String::new(), |account| {
            format!("user = {}\n", account.name())
        });
        let place = folder.path().display().to_string();
        let server = database.url().rsplit_once(':').expect("a port").1;
        let server = server.split('/').next().expect("a port before the name");
        for _ in 0..STARTS_MAX {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = listener.local_addr().expect("its address").port();
            drop(listener);
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {place}/users\npool_mode = transaction\n\
                 max_prepared_statements = {}\ndefault_pool_size = {SERVER_CONNECTIONS}\n\
                 max_client_conn = 200\n{user}",
                if prepared { 100 } else { 0 },
            );
            fs::write(folder.path().join("settings"), settings).expect("write its settings");
            fs::write(folder.path().join("users"), "\"postgres\" \"\"\n").expect("write users");
            let process = Process::start(&program, &[], &[&format!("{place}/settings")]);
            let url = format!("postgres://postgres@127.0.0.1:{port}/{}", database.name());
            until("the pooler answers", async || {
                !process.running() || tokio_postgres::connect(&url, NoTls).await.is_ok()
            })
            .await;
            if process.running() {
                return Self {
                    process,
                    url,
                    _folder: folder,
                };
            }
            let log = process.log();
            assert!(log.contains("Address already in use"), "{log}");
        }
        panic!("no free port was found in {STARTS_MAX} tries");
    }

    /// Where the database is through it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
