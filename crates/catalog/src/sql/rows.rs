//! The statements on the catalog's two tables, each one round trip.

use std::collections::BTreeMap;

use model::TableName;
use tokio_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use crate::{Error, Prepared};

const CREATE_TABLES: &str = include_str!("../../sql/create_tables.sql");
const CREATE_NAMESPACE_PROPERTIES: &str = include_str!("../../sql/create_namespace_properties.sql");
const LOCK_CREATION: &str = include_str!("../../sql/lock_creation.sql");
const FIND_TABLES: &str = include_str!("../../sql/find_tables.sql");
const IDENTIFY: &str = include_str!("../../sql/identify.sql");
const IDENTIFY_RESTRICTED: &str = include_str!("../../sql/identify_restricted.sql");
const LIST_NAMESPACES: &str = include_str!("../../sql/list_namespaces.sql");
const FIND_NAMESPACE: &str = include_str!("../../sql/find_namespace.sql");
const NAMESPACE_LOCATION: &str = include_str!("../../sql/namespace_location.sql");
const NAMESPACE_PROPERTIES: &str = include_str!("../../sql/namespace_properties.sql");
const INSERT_NAMESPACE: &str = include_str!("../../sql/insert_namespace.sql");
const LIST_TABLES: &str = include_str!("../../sql/list_tables.sql");
const LIST_LOCATIONS: &str = include_str!("../../sql/list_locations.sql");
const FIND_TABLE: &str = include_str!("../../sql/find_table.sql");
const FIND_TYPE_COLUMN: &str = include_str!("../../sql/find_type_column.sql");
const INSERT_TABLE: &str = include_str!("../../sql/insert_table.sql");
const INSERT_TABLE_UNTYPED: &str = include_str!("../../sql/insert_table_untyped.sql");
const SWAP_TABLE: &str = include_str!("../../sql/swap_table.sql");
const NOW_MS: &str = include_str!("../../sql/now_ms.sql");

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The rows of one catalog.
pub(super) struct Rows {
    catalog: String,
    pool: pg::Pool,
}

/// A table of some catalog in this database.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Catalog, namespace, name.
    pub(super) key: (String, String, String),
    pub(super) metadata_location: String,
}

impl Entry {
    /// Its name; one stands for all that we cannot use.
    pub(super) fn name(&self) -> Result<TableName, Error> {
        let (_, namespace, table) = &self.key;
        let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
        let named = TableName::new(&levels, table.clone());
        named
            .or_else(|_| "unnamed.unnamed".parse())
            .map_err(|error| Error::Failed {
                doing: "name a table".to_owned(),
                advice: model::Advice::GiveUp,
                source: Box::new(error),
            })
    }
}

/// What a namespace without properties is given, so that it exists (as PyIceberg does).
const EXISTS: (&str, &str) = ("exists", "true");

/// A namespace as its rows hold it: levels joined by dots.
pub(super) fn namespace_key(namespace: &[String]) -> Result<String, Error> {
    match namespace
        .iter()
        .find(|level| level.contains('.') || level.is_empty())
    {
        Some(level) => Err(Error::Unsupported(format!(
            "namespace level `{level}`: the SQL catalog joins levels by dots, so none may hold one or be empty"
        ))),
        None if namespace.is_empty() => {
            Err(Error::Unsupported("a namespace needs a level".to_owned()))
        }
        None => Ok(namespace.join(".")),
    }
}

impl Rows {
    pub(super) fn new(catalog: &str, pool: pg::Pool) -> Self {
        Self {
            catalog: catalog.to_owned(),
            pool,
        }
    }

    pub(super) fn catalog(&self) -> &str {
        &self.catalog
    }

    pub(super) fn place(&self) -> &str {
        self.pool.place()
    }

    /// Makes the tables as PyIceberg would, if they are not there.
    pub(super) async fn create_tables(&self) -> Result<(), Error> {
        let doing = "create the catalog's tables";
        let mut client = self.client().await?;
        let found = query(&**client, doing, FIND_TABLES, &[]).await?;
        if found.iter().all(|row| row.get("complete")) {
            return Ok(());
        }
        let tx = client
            .transaction()
            .await
            .map_err(|source| failed(doing, source))?;
        query(&*tx, doing, LOCK_CREATION, &[]).await?;
        query(&*tx, doing, CREATE_TABLES, &[]).await?;
        query(&*tx, doing, CREATE_NAMESPACE_PROPERTIES, &[]).await?;
        tx.commit().await.map_err(|source| failed(doing, source))
    }

    /// Whether transactions of `database` see these very rows.
    pub(super) async fn lie_in(&self, database: &pg::Pool) -> Result<bool, Error> {
        let there = database.get().await.map_err(unreachable)?;
        let (ours, theirs) = (
            identity(&**self.client().await?).await?,
            identity(&**there).await?,
        );
        Ok(ours == theirs)
    }

    pub(super) async fn now_ms(&self) -> Result<i64, Error> {
        let rows = query(&**self.client().await?, "ask for the time", NOW_MS, &[]).await?;
        Ok(rows[0].get("now_ms"))
    }

    pub(super) async fn namespaces(&self) -> Result<Vec<String>, Error> {
        let doing = "list namespaces";
        let rows = query(
            &**self.client().await?,
            doing,
            LIST_NAMESPACES,
            &[text(&self.catalog)],
        )
        .await?;
        Ok(rows.iter().map(|row| row.get("namespace")).collect())
    }

    pub(super) async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        let parameters = [text(&self.catalog), text(&namespace)];
        let rows = query(
            &**self.client().await?,
            "find a namespace",
            FIND_NAMESPACE,
            &parameters,
        )
        .await?;
        Ok(rows[0].get("found"))
    }

    pub(super) async fn namespace_location(
        &self,
        namespace: &str,
    ) -> Result<Option<String>, Error> {
        let parameters = [text(&self.catalog), text(&namespace)];
        let doing = "read a namespace's location";
        let rows = query(
            &**self.client().await?,
            doing,
            NAMESPACE_LOCATION,
            &parameters,
        )
        .await?;
        Ok(rows.first().map(|row| row.get("property_value")))
    }

    pub(super) async fn namespace_properties(
        &self,
        namespace: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        let parameters = [text(&self.catalog), text(&namespace)];
        let doing = "read a namespace's properties";
        let rows = query(
            &**self.client().await?,
            doing,
            NAMESPACE_PROPERTIES,
            &parameters,
        )
        .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    pub(super) async fn insert_namespace(
        &self,
        namespace: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let (mut keys, mut values): (Vec<&str>, Vec<&str>) = properties
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .unzip();
        if keys.is_empty() {
            (keys, values) = (vec![EXISTS.0], vec![EXISTS.1]);
        }
        let parameters = [
            text(&self.catalog),
            text(&namespace),
            (&keys as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
            (&values as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
        ];
        query(
            &**self.client().await?,
            "create a namespace",
            INSERT_NAMESPACE,
            &parameters,
        )
        .await?;
        Ok(())
    }

    /// Name and metadata location of every table of `namespace`.
    pub(super) async fn tables(
        &self,
        namespace: &str,
    ) -> Result<Vec<(String, Option<String>)>, Error> {
        let parameters = [text(&self.catalog), text(&namespace)];
        let rows = query(
            &**self.client().await?,
            "list tables",
            LIST_TABLES,
            &parameters,
        )
        .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Every table in this database.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>, Error> {
        let client = self.client().await?;
        let rows = query(&**client, "list locations", LIST_LOCATIONS, &[]).await?;
        let entry = |row: &tokio_postgres::Row| Entry {
            key: (row.get(0), row.get(1), row.get(2)),
            metadata_location: row.get(3),
        };
        Ok(rows.iter().map(entry).collect())
    }

    pub(super) async fn metadata_location(
        &self,
        table: &TableName,
    ) -> Result<Option<String>, Error> {
        self.location_through(&**self.client().await?, table).await
    }

    async fn location_through(
        &self,
        client: &impl GenericClient,
        table: &TableName,
    ) -> Result<Option<String>, Error> {
        let (namespace, name) = (namespace_key(table.namespace())?, table.table());
        let parameters = [text(&self.catalog), text(&namespace), text(&name)];
        let rows = query(client, "find a table", FIND_TABLE, &parameters).await?;
        Ok(rows.first().and_then(|row| row.get("metadata_location")))
    }

    pub(super) async fn insert_table(
        &self,
        table: &TableName,
        location: &str,
    ) -> Result<(), Error> {
        let client = self.client().await?;
        let (namespace, name) = (namespace_key(table.namespace())?, table.table());
        let doing = "create a table";
        let typed = query(&**client, doing, FIND_TYPE_COLUMN, &[]).await?;
        let typed = typed.iter().any(|row| row.get("typed"));
        let insert = if typed {
            INSERT_TABLE
        } else {
            INSERT_TABLE_UNTYPED
        };
        let parameters = [
            text(&self.catalog),
            text(&namespace),
            text(&name),
            text(&location),
        ];
        match client.query_typed(insert, &parameters).await {
            Ok(_) => Ok(()),
            Err(source) if source.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Err(Error::TableExists(table.clone()))
            }
            Err(source) if pg::outcome_unknown(&source) => Err(unknown(table, source)),
            Err(source) => Err(failed(doing, source)),
        }
    }

    /// The compare-and-swap; within the caller's transaction it has not happened until that commits.
    pub(super) async fn swap(
        &self,
        prepared: &Prepared,
        within: Option<&pg::Transaction<'_>>,
    ) -> Result<(), Error> {
        let table = &prepared.base.name;
        if let Some(tx) = within {
            // Whatever breaks here, the transaction cannot commit: it surely did not happen.
            let swapped = self.swap_through(tx, prepared).await;
            let swapped = swapped.map_err(|source| failed("swap a table", source))?;
            return self.settle(tx, prepared, swapped).await;
        }
        let client = self.client().await?;
        // One statement, so its answer is the answer of its commit.
        let swapped = match self.swap_through(&**client, prepared).await {
            Ok(swapped) => swapped,
            Err(source) if pg::outcome_unknown(&source) => {
                // A connection that is about to end may still look sound to the pool, and whoever
                // looks what became of the swap would be given it.
                client.close();
                return Err(unknown(table, source));
            }
            Err(source) => return Err(failed("swap a table", source)),
        };
        self.settle(&**client, prepared, swapped).await
    }

    async fn swap_through(
        &self,
        client: &impl GenericClient,
        prepared: &Prepared,
    ) -> Result<bool, tokio_postgres::Error> {
        let base = &prepared.base;
        let (namespace, name) = (base.name.namespace().join("."), base.name.table());
        let parameters = [
            text(&self.catalog),
            text(&namespace),
            text(&name),
            text(&prepared.metadata_location),
            text(&base.metadata_location),
        ];
        Ok(!client
            .query_typed(SWAP_TABLE, &parameters)
            .await?
            .is_empty())
    }

    /// Says why nothing was swapped.
    async fn settle(
        &self,
        client: &impl GenericClient,
        prepared: &Prepared,
        swapped: bool,
    ) -> Result<(), Error> {
        if swapped {
            return Ok(());
        }
        let table = prepared.base.name.clone();
        match self.location_through(client, &table).await? {
            None => Err(Error::NoSuchTable(table)),
            // An earlier try of the same swap landed although its answer was lost.
            Some(found) if found == prepared.metadata_location => Ok(()),
            Some(found) => Err(Error::Conflict {
                table,
                why: format!("another writer committed first: it is at {found}"),
            }),
        }
    }

    async fn client(&self) -> Result<pg::Client, Error> {
        self.pool.get().await.map_err(unreachable)
    }
}

fn text<T: ToSql + Sync>(value: &T) -> Parameter<'_> {
    (value, Type::TEXT)
}

async fn query(
    client: &impl GenericClient,
    doing: &str,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    client
        .query_typed(sql, parameters)
        .await
        .map_err(|source| failed(doing, source))
}

/// Server, database and table; equal only for one and the same `iceberg_tables`.
async fn identity(client: &impl GenericClient) -> Result<[Option<String>; 4], Error> {
    let rows = match client.query_typed(IDENTIFY, &[]).await {
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            query(
                client,
                "identify the catalog's database",
                IDENTIFY_RESTRICTED,
                &[],
            )
            .await?
        }
        answer => answer.map_err(|source| failed("identify the catalog's database", source))?,
    };
    Ok(["system", "started", "database", "relation"].map(|column| rows[0].get(column)))
}

fn failed(doing: &str, source: tokio_postgres::Error) -> Error {
    Error::Failed {
        doing: doing.to_owned(),
        advice: pg::advice(&source),
        source: source.into(),
    }
}

fn unreachable(source: pg::Error) -> Error {
    let advice = source.advice();
    Error::Failed {
        doing: "reach the catalog's database".to_owned(),
        advice,
        source: source.into(),
    }
}

fn unknown(table: &TableName, source: tokio_postgres::Error) -> Error {
    Error::Unknown {
        table: table.clone(),
        source: source.into(),
    }
}
