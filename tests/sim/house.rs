//! One round's lakehouse: a folder, a Postgres of its own, a catalog in it, a warehouse.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use catalog::{Catalog, SqlCatalog};
use model::TableName;
use pg::Pool;
use storage::Storage;
use tempfile::TempDir;
use testkit::{Server, Stop};
use tokio::sync::Mutex;

pub(crate) const CATALOG: &str = "sim";
pub(crate) const NAMESPACE: &str = "fire";
/// Connections of the writers and of those who look.
const CONNECTIONS_MAX: usize = 12;

pub(crate) struct House {
    pub(crate) seed: u64,
    pub(crate) folder: PathBuf,
    server: Mutex<Server>,
    pub(crate) database_url: String,
    pub(crate) pool: Pool,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) storage: Storage,
    pub(crate) warehouse: String,
    /// Where the API answers, across its restarts.
    pub(crate) api: SocketAddr,
    /// How long a worker may be silent.
    pub(crate) lease: Duration,
}

impl House {
    /// Everything but tables and programs.
    pub(crate) async fn build(seed: u64, folder: &Path) -> Result<Self> {
        let (warehouse, logs) = (folder.join("warehouse"), folder.join("logs"));
        fs::create_dir(&warehouse).and_then(|()| fs::create_dir(&logs))?;
        let server = Server::start(&["max_connections=300"]).await;
        let database_url = server.url();
        let pool = Pool::connect(&database_url, CONNECTIONS_MAX, crate::NAME).await?;
        maintenance::migrate(&pool)
            .await
            .context("migrate the database")?;
        let storage = Storage::local();
        let warehouse = format!("file://{}", warehouse.display());
        let at = Some(warehouse.as_str());
        let catalog = SqlCatalog::open(CATALOG, pool.clone(), Some(&pool), &storage, at).await?;
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        catalog
            .create_namespace(&[NAMESPACE.to_owned()], &[].into())
            .await?;
        Ok(Self {
            seed,
            folder: folder.to_owned(),
            server: Mutex::new(server),
            database_url,
            pool,
            catalog,
            storage,
            warehouse,
            api: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            // The shortest there is, and up to three times as long.
            lease: Duration::from_secs(2 + seed % 5),
        })
    }

    pub(crate) async fn stop_postgres(&self, how: Stop) {
        self.server.lock().await.stop(how).await;
    }

    pub(crate) async fn start_postgres(&self) {
        self.server.lock().await.start_again().await;
    }

    /// Where Postgres listens.
    pub(crate) fn postgres(&self) -> Result<SocketAddr> {
        let (_, place) = self.database_url.split_once('@').context("a url")?;
        let (address, _) = place.split_once('/').context("a url")?;
        Ok(address.parse()?)
    }

    /// The same database by way of another address.
    pub(crate) fn database_by(&self, address: SocketAddr) -> Result<String> {
        let (head, place) = self.database_url.split_once('@').context("a url")?;
        let (_, name) = place.split_once('/').context("a url")?;
        Ok(format!("{head}@{address}/{name}"))
    }

    pub(crate) fn table(number: usize) -> Result<TableName> {
        Ok(TableName::new([NAMESPACE], format!("t{number:02}"))?)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Every file below the warehouse, as locations.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut open = vec![self.folder.join("warehouse")];
        let mut found = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(format!("file://{}", path.display()));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The folder of a round. Removed with it, unless it is kept.
#[derive(Debug)]
pub(crate) struct Place(Option<TempDir>);

impl Place {
    pub(crate) fn make() -> Result<Self> {
        let made = tempfile::Builder::new().prefix("snowpack-sim-").tempdir()?;
        Ok(Self(Some(made)))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Lets it stay.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.0.take().map(TempDir::keep).unwrap_or_default()
    }
}
