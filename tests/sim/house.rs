//! One round's lakehouse: a folder, a Postgres of its own or two, a catalog, a warehouse in the
//! folder or in an S3 server, and the ways there that break.

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
use testkit::{PostgresProxy, Proxy, S3, Server, Stop};
use tokio::sync::Mutex;

use crate::places::{Places, Tables};
use crate::sky::Sky;

pub(crate) const CATALOG: &str = "sim";
pub(crate) const NAMESPACE: &str = "fire";
/// Connections of the writers and of those who look, to one database.
const CONNECTIONS_MAX: usize = 12;

/// Of each Postgres.
const SETTINGS: &[&str] = &["max_connections=300"];

/// Whose Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The queue's, and the catalog's when that lies within.
    Queue,
    /// The catalog's own.
    Catalog,
}

/// An S3 server, and the way there that breaks.
struct Bucket {
    server: S3,
    proxy: Proxy,
}

pub(crate) struct House {
    pub(crate) seed: u64,
    pub(crate) places: Places,
    pub(crate) folder: PathBuf,
    queue: Mutex<Server>,
    elsewhere: Option<Mutex<Server>>,
    pub(crate) database_url: String,
    /// The same when the catalog lies within.
    pub(crate) catalog_url: String,
    pub(crate) pool: Pool,
    catalog_pool: Pool,
    pub(crate) catalog: Arc<dyn Catalog>,
    bucket: Option<Bucket>,
    pub(crate) storage: Storage,
    pub(crate) warehouse: String,
    /// The way of the programs to the catalog's database.
    swaps: PostgresProxy,
    pub(crate) sky: Arc<Sky>,
    /// Where the API answers, across its restarts.
    pub(crate) api: SocketAddr,
    /// How long a worker may be silent.
    pub(crate) lease: Duration,
}

impl House {
    /// Everything but tables and programs.
    pub(crate) async fn build(seed: u64, places: Places, folder: &Path) -> Result<Self> {
        fs::create_dir(folder.join("logs"))?;
        // The shortest there is, and up to three times as long.
        let lease = Duration::from_secs(2 + seed % 5);
        let sky = Arc::new(Sky::new(seed, lease));
        let queue = Server::start(SETTINGS).await;
        let database_url = queue.url();
        let pool = Pool::connect(&database_url, CONNECTIONS_MAX, crate::NAME).await?;
        maintenance::migrate(&pool)
            .await
            .context("migrate the database")?;
        let (mut catalog_url, mut catalog_pool) = (database_url.clone(), pool.clone());
        let mut elsewhere = None;
        if places.elsewhere() {
            let server = Server::start(SETTINGS).await;
            catalog_url = server.url();
            catalog_pool = Pool::connect(&catalog_url, CONNECTIONS_MAX, crate::NAME).await?;
            elsewhere = Some(Mutex::new(server));
        }
        let (bucket, storage, warehouse) = store(places, folder, &sky).await?;
        let at = Some(warehouse.as_str());
        let own = catalog_pool.clone();
        let catalog = SqlCatalog::open(CATALOG, own, Some(&pool), &storage, at).await?;
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        catalog
            .create_namespace(&[NAMESPACE.to_owned()], &[].into())
            .await?;
        let judge = Arc::clone(&sky);
        let swaps = PostgresProxy::start(&catalog_url, move |said| judge.commit(said)).await;
        Ok(Self {
            seed,
            places,
            folder: folder.to_owned(),
            queue: Mutex::new(queue),
            elsewhere,
            database_url,
            catalog_url,
            pool,
            catalog_pool,
            catalog,
            bucket,
            storage,
            warehouse,
            swaps,
            sky,
            api: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            lease,
        })
    }

    fn server(&self, whose: Whose) -> &Mutex<Server> {
        match (whose, &self.elsewhere) {
            (Whose::Catalog, Some(server)) => server,
            _ => &self.queue,
        }
    }

    pub(crate) async fn stop_postgres(&self, whose: Whose, how: Stop) {
        self.server(whose).lock().await.stop(how).await;
    }

    pub(crate) async fn start_postgres(&self, whose: Whose) {
        self.server(whose).lock().await.start_again().await;
    }

    /// Connections without any proxy.
    pub(crate) fn pool_of(&self, whose: Whose) -> &Pool {
        match whose {
            Whose::Queue => &self.pool,
            Whose::Catalog => &self.catalog_pool,
        }
    }

    /// Where a program's way to this Postgres leads: by the proxy when the catalog is there.
    pub(crate) fn way(&self, whose: Whose) -> Result<SocketAddr> {
        if whose == Whose::Queue && self.places.elsewhere() {
            let (_, place) = self.database_url.split_once('@').context("a url")?;
            let (address, _) = place.split_once('/').context("a url")?;
            return Ok(address.parse()?);
        }
        Ok(self.swaps.address())
    }

    /// The same database by way of another address.
    pub(crate) fn by(&self, whose: Whose, address: SocketAddr) -> Result<String> {
        let url = match whose {
            Whose::Queue => &self.database_url,
            Whose::Catalog => &self.catalog_url,
        };
        let (head, place) = url.split_once('@').context("a url")?;
        let (_, name) = place.split_once('/').context("a url")?;
        Ok(format!("{head}@{address}/{name}"))
    }

    /// What leads the programs to the S3 server, by the proxy.
    pub(crate) fn s3_settings(&self) -> Vec<(&'static str, String)> {
        let Some(bucket) = &self.bucket else {
            return Vec::new();
        };
        let mut settings = bucket.server.settings();
        for (name, value) in &mut settings {
            if *name == "SNOWPACK_S3_ENDPOINT" {
                *value = bucket.proxy.endpoint();
            }
        }
        settings
    }

    /// What leads an oracle to the S3 server.
    pub(crate) fn oracle_properties(&self) -> serde_json::Value {
        let bucket = self.bucket.as_ref();
        bucket.map_or(serde_json::json!({}), |bucket| {
            bucket.server.oracle_properties()
        })
    }

    pub(crate) fn table(number: usize) -> Result<TableName> {
        Ok(TableName::new([NAMESPACE], format!("t{number:02}"))?)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Every file below the warehouse, as locations. In S3 also whatever else the server keeps of
    /// the bucket: the parts of an upload that was not finished.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        if let Some(bucket) = &self.bucket {
            let files = bucket.server.files().into_iter();
            let located = files.map(|path| format!("s3://{}/{}", S3::BUCKET, path.display()));
            return Ok(located.collect());
        }
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

/// Where tables can lie, and how writers and judges reach them.
async fn store(
    places: Places,
    folder: &Path,
    sky: &Arc<Sky>,
) -> Result<(Option<Bucket>, Storage, String)> {
    match places.tables {
        Tables::Folder => {
            let warehouse = folder.join("warehouse");
            fs::create_dir(&warehouse)?;
            let warehouse = format!("file://{}", warehouse.display());
            Ok((None, Storage::local(), warehouse))
        }
        Tables::S3 => {
            let bucket = Bucket::open(sky).await;
            let storage = Storage::new(&bucket.arguments())?;
            let warehouse = format!("s3://{}/warehouse", S3::BUCKET);
            Ok((Some(bucket), storage, warehouse))
        }
    }
}

impl Bucket {
    async fn open(sky: &Arc<Sky>) -> Self {
        let server = S3::start().await;
        let judge = Arc::clone(sky);
        let proxy = Proxy::start(server.address(), move |_| judge.request()).await;
        Self { server, proxy }
    }

    /// The way that does not break.
    fn arguments(&self) -> storage::Args {
        storage::Args {
            s3_endpoint: Some(self.server.endpoint()),
            s3_region: Some(S3::REGION.to_owned()),
            s3_access_key_id: Some(S3::ACCESS_KEY_ID.to_owned()),
            s3_secret_access_key: Some(S3::SECRET_ACCESS_KEY.to_owned()),
            ..storage::Args::default()
        }
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
