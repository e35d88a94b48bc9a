//! How a statement is sent: one round trip, no prepared statement, the doing named in the error.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};

use crate::Error;

/// A parameter with its type.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

pub(crate) async fn rows<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, Error> {
    client
        .query_typed(sql, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

pub(crate) async fn maybe<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Option<Row>, Error> {
    Ok(rows(client, doing, sql, params).await?.into_iter().next())
}

/// For statements that return exactly one row whatever happens.
pub(crate) async fn one<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Row, Error> {
    client
        .query_typed_one(sql, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

/// Rows changed.
pub(crate) async fn run<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    sql: &str,
    params: &[Param<'_>],
) -> Result<u64, Error> {
    client
        .execute_typed(sql, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

/// One column of one row.
pub(crate) fn read<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: &'static str,
) -> Result<T, Error> {
    row.try_get(column).map_err(|source| Error::Database {
        doing: "read a column",
        source,
    })
}
