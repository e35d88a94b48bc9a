//! Migrations: numbered, checksummed, each in a transaction of its own, one migrator at a time.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use crate::{Error, Pool};

/// One numbered change of one schema. Its text is never edited once released.
#[derive(Debug, Clone)]
pub struct Migration {
    /// 1, 2, 3, .. without a gap.
    pub number: i32,
    pub name: &'static str,
    /// Statements without transaction control.
    pub sql: Cow<'static, str>,
    /// The lowest version a program must know to work with the schema after this migration.
    pub oldest_binary_schema: i32,
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Numbers applied by this call; empty when everything was there.
    pub applied: Vec<i32>,
    /// The schema's version now.
    pub version: i32,
}

/// What a schema says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub version: i32,
    /// The lowest version a program must know.
    pub oldest_binary_schema: i32,
}

const SCHEMA_NAME_MAX: usize = 40;

const EXISTS: &str = include_str!("../sql/migrations_exist.sql");
const APPLIED: &str = include_str!("../sql/migrations_applied.sql");
const RECORD: &str = include_str!("../sql/migration_record.sql");
const STATE: &str = include_str!("../sql/migrations_state.sql");

/// Every statement of `sql/` for one schema, as (name, text).
pub fn statements(schema: &str) -> Vec<(&'static str, String)> {
    [
        ("migrations_exist", EXISTS),
        ("migrations_applied", APPLIED),
        ("migration_record", RECORD),
        ("migrations_state", STATE),
    ]
    .into_iter()
    .map(|(name, text)| (name, in_schema(text, schema)))
    .collect()
}

fn in_schema(text: &str, schema: &str) -> String {
    text.replace("{lane}", &format!("\"{schema}\""))
}

/// Applies what is missing of `list` to `schema`. Several at once are safe (an advisory lock of
/// the transaction lets one work at a time), and a second run changes nothing.
pub async fn migrate(pool: &Pool, schema: &str, list: &[Migration]) -> Result<Migrated, Error> {
    check_name(schema)?;
    for (at, migration) in list.iter().enumerate() {
        if migration.number != at as i32 + 1 {
            return Err(Error::MisnumberedMigration {
                schema: schema.to_owned(),
                number: migration.number,
            });
        }
    }
    let mut client = pool.dedicated().await?;
    prepare(&mut client, schema).await?;
    let mut migrated = Migrated {
        applied: Vec::new(),
        version: 0,
    };
    for migration in list {
        if apply(&mut client, schema, migration).await? {
            migrated.applied.push(migration.number);
            tracing::info!(
                schema,
                number = migration.number,
                name = migration.name,
                "migrated"
            );
        }
    }
    let known = list.len() as i32;
    if let Some(state) = read_state(&client, schema).await? {
        if state.oldest_binary_schema > known {
            return Err(Error::SchemaTooNew {
                schema: schema.to_owned(),
                version: state.version,
                oldest: state.oldest_binary_schema,
                known,
            });
        }
        migrated.version = state.version;
    }
    Ok(migrated)
}

/// The version of `schema`, or `None` when nobody has migrated it yet.
pub async fn schema_state(pool: &Pool, schema: &str) -> Result<Option<State>, Error> {
    check_name(schema)?;
    let client = pool.get().await?;
    read_state(&client, schema).await
}

async fn read_state(client: &tokio_postgres::Client, schema: &str) -> Result<Option<State>, Error> {
    let doing = "read the schema's version";
    let fail = |source| Error::Database { doing, source };
    let name = format!("\"{schema}\".schema_migrations");
    let exists: bool = client
        .query_typed_one(EXISTS, &[(&name, Type::TEXT)])
        .await
        .map_err(fail)?
        .get(0);
    if !exists {
        return Ok(None);
    }
    let row = client
        .query_typed_opt(&in_schema(STATE, schema), &[])
        .await
        .map_err(fail)?;
    Ok(row.map(|row| State {
        version: row.get(0),
        oldest_binary_schema: row.get(1),
    }))
}

/// The table the rest is recorded in. `if not exists` is not safe for two at once in Postgres, so
/// it runs under the same lock as the migrations.
async fn prepare(client: &mut tokio_postgres::Client, schema: &str) -> Result<(), Error> {
    let doing = "create the migrations table";
    let fail = |source| Error::Database { doing, source };
    let tx = client.transaction().await.map_err(fail)?;
    take_turn(&tx, schema).await.map_err(fail)?;
    tx.batch_execute(&format!(
        "create schema if not exists \"{schema}\";
         create table if not exists \"{schema}\".schema_migrations (
             number int primary key,
             name text not null,
             checksum text not null,
             oldest_binary_schema int not null,
             applied_at timestamptz not null default now()
         )"
    ))
    .await
    .map_err(fail)?;
    tx.commit().await.map_err(fail)
}

/// Says whether it was missing.
async fn apply(
    client: &mut tokio_postgres::Client,
    schema: &str,
    migration: &Migration,
) -> Result<bool, Error> {
    let fail = |source| Error::Migration {
        schema: schema.to_owned(),
        number: migration.number,
        name: migration.name.to_owned(),
        source,
    };
    let checksum = checksum(&migration.sql);
    let tx = client.transaction().await.map_err(fail)?;
    take_turn(&tx, schema).await.map_err(fail)?;
    let applied = tx
        .query_typed_opt(
            &in_schema(APPLIED, schema),
            &[(&migration.number, Type::INT4)],
        )
        .await
        .map_err(fail)?;
    if let Some(row) = applied {
        if row.get::<_, String>(0) == checksum {
            return Ok(false);
        }
        return Err(Error::ChangedMigration {
            schema: schema.to_owned(),
            number: migration.number,
            name: migration.name.to_owned(),
        });
    }
    tx.batch_execute(&migration.sql).await.map_err(fail)?;
    tx.execute_typed(
        &in_schema(RECORD, schema),
        &[
            (&migration.number, Type::INT4),
            (&migration.name, Type::TEXT),
            (&checksum, Type::TEXT),
            (&migration.oldest_binary_schema, Type::INT4),
        ],
    )
    .await
    .map_err(fail)?;
    tx.commit().await.map_err(fail)?;
    Ok(true)
}

/// One migrator of a schema at a time; the lock ends with the transaction.
async fn take_turn(
    tx: &tokio_postgres::Transaction<'_>,
    schema: &str,
) -> Result<(), tokio_postgres::Error> {
    tx.query_typed(
        "select pg_advisory_xact_lock(hashtextextended('migrate ' || $1, 0))",
        &[(&schema, Type::TEXT)],
    )
    .await
    .map(|_| ())
}

fn checksum(sql: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(sql.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn check_name(schema: &str) -> Result<(), Error> {
    let fits = !schema.is_empty()
        && schema.len() <= SCHEMA_NAME_MAX
        && !schema.starts_with(|c: char| c.is_ascii_digit())
        && schema
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if fits {
        Ok(())
    } else {
        Err(Error::BadSchemaName(schema.to_owned()))
    }
}
