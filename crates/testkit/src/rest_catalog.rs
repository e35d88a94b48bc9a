//! Apache's own server of Iceberg's REST protocol (the one Iceberg tests its clients with) over a
//! Postgres database, on a free port of this host.

use std::net::{SocketAddr, TcpListener};

use crate::{Database, Process, S3, until};

/// Another program may take a free port before the server does.
const STARTS_MAX: u32 = 5;
const SERVER: &str = "org.apache.iceberg.rest.RESTCatalogServer";
/// It does little, and others want the machine.
const JAVA: [&str; 4] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-cp",
];

/// A running server. Ended when dropped.
#[derive(Debug)]
pub struct RestCatalog {
    process: Process,
    address: SocketAddr,
}

impl RestCatalog {
    /// What the server calls itself in the rows of its database.
    pub const CATALOG: &str = "rest_backend";

    /// Tables below `warehouse`: a folder's location, or one in `s3`, whose keys it then gives out
    /// with every table.
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn start(warehouse: &str, s3: Option<&S3>) -> Self {
        Self::on(&Database::empty().await, warehouse, s3).await
    }

    /// The same on this database, where its tables are those of the SQL catalog [`RestCatalog::CATALOG`].
    ///
    /// # Panics
    /// When the server does not start.
    pub async fn on(database: &Database, warehouse: &str, s3: Option<&S3>) -> Self {
        let jars = std::env::var("SNOWPACK_TEST_REST")
            .expect("SNOWPACK_TEST_REST is the class path of a REST catalog; tests/run sets it");
        let (_, place) = database.url().split_once('@').expect("a user");
        let uri = format!("jdbc:postgresql://{place}");
        let endpoint = s3.map(S3::endpoint);
        let mut settings = vec![
            (
                "CATALOG_CATALOG__IMPL",
                "org.apache.iceberg.jdbc.JdbcCatalog",
            ),
            ("CATALOG_URI", &uri),
            // Without one that knows them, Java never makes a folder of a name with other letters.
            ("LC_ALL", "C.UTF-8"),
            ("CATALOG_JDBC_USER", "postgres"),
            // With the column that tells tables from views.
            ("CATALOG_JDBC_SCHEMA__VERSION", "V1"),
            // A table needs a namespace.
            ("CATALOG_JDBC_STRICT__MODE", "true"),
            ("CATALOG_WAREHOUSE", warehouse),
        ];
        if let Some(endpoint) = &endpoint {
            settings.extend([
                ("CATALOG_IO__IMPL", "org.apache.iceberg.aws.s3.S3FileIO"),
                ("CATALOG_S3_ENDPOINT", endpoint),
                ("CATALOG_S3_PATH__STYLE__ACCESS", "true"),
                ("CATALOG_S3_ACCESS__KEY__ID", S3::ACCESS_KEY_ID),
                ("CATALOG_S3_SECRET__ACCESS__KEY", S3::SECRET_ACCESS_KEY),
                ("CATALOG_CLIENT_REGION", S3::REGION),
                ("CATALOG_INCLUDE__CREDENTIALS", "true"),
            ]);
        }
        for _ in 0..STARTS_MAX {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("its address");
            drop(listener);
            let port = address.port().to_string();
            let settings = [&settings[..], &[("CATALOG_REST_PORT", &port)]].concat();
            let process =
                Process::start("java", &settings, &[&JAVA[..], &[&jars, SERVER]].concat());
            // By its own word: another program may answer at the port.
            let listens = format!("{{0.0.0.0:{port}}}");
            until("the REST catalog listens", async || {
                !process.running() || process.log().contains(&listens)
            })
            .await;
            if process.running() {
                return Self { process, address };
            }
            let log = process.log();
            assert!(log.contains("Address already in use"), "{log}");
        }
        panic!("no free port was found in {STARTS_MAX} tries");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What leads our client here.
    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
