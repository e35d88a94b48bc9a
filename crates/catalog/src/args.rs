//! Arguments that say which catalog, and the way from them to one.

use std::fmt;
use std::sync::Arc;

use model::Advice;
use storage::Storage;

use crate::{Catalog, Error, RestCatalog, SqlCatalog};

/// Connections to a catalog database of its own.
const CONNECTIONS_MAX: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Postgres in the JDBC layout (`iceberg_tables`), as PyIceberg and Java use it
    Sql,
    /// A server that speaks Iceberg's REST catalog protocol
    Rest,
}

/// Which catalog, and where.
#[derive(clap::Args, Clone)]
#[group(skip)]
pub struct Args {
    /// Kind of catalog
    #[arg(long, env = "SNOWPACK_CATALOG_TYPE", value_enum, default_value = "sql")]
    pub catalog_type: Kind,

    /// Where the catalog is: a Postgres url (default: the database url), or the address of a REST
    /// catalog
    #[arg(long, env = "SNOWPACK_CATALOG_URI", hide_env_values = true)]
    pub catalog_uri: Option<String>,

    /// The catalog's name, as its rows carry it
    #[arg(long, env = "SNOWPACK_CATALOG_NAME", default_value = "snowpack")]
    pub catalog_name: String,

    /// What a REST catalog calls the warehouse that is meant
    #[arg(long, env = "SNOWPACK_CATALOG_WAREHOUSE")]
    pub catalog_warehouse: Option<String>,

    /// Bearer token for a REST catalog
    #[arg(long, env = "SNOWPACK_CATALOG_TOKEN", hide_env_values = true)]
    pub catalog_token: Option<String>,

    /// OAuth2 client of a REST catalog, as id:secret
    #[arg(long, env = "SNOWPACK_CATALOG_CREDENTIAL", hide_env_values = true)]
    pub catalog_credential: Option<String>,

    /// Where that client gets its tokens; default: the REST catalog's own v1/oauth/tokens
    #[arg(long, env = "SNOWPACK_CATALOG_OAUTH2_URI", hide_env_values = true)]
    pub catalog_oauth2_uri: Option<String>,

    /// Scope of those tokens; default: catalog
    #[arg(long, env = "SNOWPACK_CATALOG_SCOPE")]
    pub catalog_scope: Option<String>,
}

impl Args {
    /// The SQL catalog `name` in the database itself.
    pub fn sql(name: &str) -> Self {
        Self {
            catalog_type: Kind::Sql,
            catalog_uri: None,
            catalog_name: name.to_owned(),
            catalog_warehouse: None,
            catalog_token: None,
            catalog_credential: None,
            catalog_oauth2_uri: None,
            catalog_scope: None,
        }
    }
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The url may hold a password, and the others are secrets or say little.
        f.debug_struct("Args")
            .field("catalog_type", &self.catalog_type)
            .field("catalog_name", &self.catalog_name)
            .finish_non_exhaustive()
    }
}

/// Opens the catalog. `database` is where the queue lies: a SQL catalog that lies in it too
/// swaps in the caller's transactions. `storage` is what `access` asked for; new tables of a SQL
/// catalog are placed below the warehouse it names. Metadata documents are read in `memory_bytes`,
/// all at once and each by itself.
pub async fn open(
    args: &Args,
    database: Option<&pg::Pool>,
    (storage, access): (&Storage, &storage::Args),
    memory_bytes: u64,
) -> Result<Arc<dyn Catalog>, Error> {
    match args.catalog_type {
        Kind::Rest => {
            let opened = RestCatalog::open(args, (storage, access), memory_bytes);
            Ok(Arc::new(opened.await?))
        }
        Kind::Sql => {
            let uri = args.catalog_uri.as_deref().filter(|uri| !uri.is_empty());
            let pool = match (uri, database) {
                (Some(uri), Some(database)) if uri == database.url() => database.clone(),
                (Some(uri), _) => connect(uri).await?,
                (None, Some(database)) => database.clone(),
                (None, None) => {
                    return Err(Error::Unsupported(
                        "the SQL catalog needs SNOWPACK_CATALOG_URI or SNOWPACK_DATABASE_URL"
                            .to_owned(),
                    ));
                }
            };
            let (name, warehouse) = (&args.catalog_name, access.warehouse.as_deref());
            let opened = SqlCatalog::open(name, pool, database, storage, warehouse).await?;
            Ok(Arc::new(opened.within(memory_bytes)))
        }
    }
}

async fn connect(uri: &str) -> Result<pg::Pool, Error> {
    let connected = pg::Pool::connect(&plain(uri), CONNECTIONS_MAX, "snowpack catalog").await;
    connected.map_err(|source| {
        let advice: Advice = source.advice();
        Error::Failed {
            doing: "connect to the catalog (SNOWPACK_CATALOG_URI)".to_owned(),
            advice,
            source: source.into(),
        }
    })
}

/// The url without the driver that SQLAlchemy's carry: `postgresql+psycopg2://`.
fn plain(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("postgresql+") => format!("postgresql://{rest}"),
        _ => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let args = Args {
            catalog_uri: Some("postgres://me:hunter2@db/lake".to_owned()),
            catalog_token: Some("hunter2".to_owned()),
            catalog_credential: Some("me:hunter2".to_owned()),
            catalog_oauth2_uri: Some("https://me:hunter2@host".to_owned()),
            ..Args::sql("snowpack")
        };
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_catalog_without_an_address_names_what_is_missing() {
        let sql = Args::sql("snowpack");
        let rest = Args {
            catalog_type: Kind::Rest,
            ..Args::sql("snowpack")
        };
        let access = storage::Args::default();
        for (args, names) in [
            (sql, &["SNOWPACK_CATALOG_URI", "SNOWPACK_DATABASE_URL"][..]),
            (rest, &["SNOWPACK_CATALOG_URI", "https://"]),
        ] {
            let opened = open(&args, None, (&Storage::local(), &access), 1 << 30).await;
            let error = opened.unwrap_err().to_string();
            for name in names {
                assert!(error.contains(name), "{error}");
            }
        }
    }

    #[test]
    fn a_driver_in_the_url_is_ignored() {
        assert_eq!(plain("postgresql+psycopg2://u@h/d"), "postgresql://u@h/d");
        assert_eq!(plain("postgres://u@h/d"), "postgres://u@h/d");
    }
}
