//! Throwaway Postgres databases, each a copy of a migrated template.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, NoTls};

use crate::Server;

/// Databases older than this are leftovers of earlier runs.
const LEFTOVER_AFTER_SECONDS: u64 = 2 * 60 * 60;

/// Serialises making the template and dropping leftovers between test processes.
const SETUP_LOCK: i64 = 0x736e_6f77;

/// One database of one test. It is not dropped at the end, so that a failure can be
/// inspected; a later run drops what is two hours old.
#[derive(Debug, Clone)]
pub struct Database {
    url: String,
    name: String,
}

impl Database {
    /// A database with the maintenance lane migrated.
    pub async fn new() -> Self {
        Self::on(&server_url(), true).await
    }

    /// A database with nothing in it.
    pub async fn empty() -> Self {
        Self::on(&server_url(), false).await
    }

    /// The database of the same name on another server, which follows this one's.
    #[must_use]
    pub fn on_standby(&self, standby: &Server) -> Self {
        Self {
            url: with_database(&standby.url(), &self.name),
            name: self.name.clone(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of at most 16 connections to it.
    pub async fn pool(&self) -> pg::Pool {
        pg::Pool::connect(&self.url, 16, "test")
            .await
            .expect("connect to the test database")
    }

    /// One plain connection to it.
    pub async fn client(&self) -> Client {
        connect(&self.url)
            .await
            .expect("connect to the test database")
    }

    pub(crate) async fn on(server: &str, migrated: bool) -> Self {
        Self::from_template(server, migrated)
            .await
            .expect("create a test database")
    }

    async fn from_template(server: &str, migrated: bool) -> Result<Self> {
        let admin = connect(server).await?;
        admin
            .execute("select pg_advisory_lock($1)", &[&SETUP_LOCK])
            .await?;
        drop_leftovers(&admin).await?;
        let template = if migrated {
            Some(template(&admin, server).await?)
        } else {
            None
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let name = format!("snowpack_test_{now}_{}", uuid::Uuid::new_v4().simple());
        let template = template.unwrap_or_else(|| "template1".to_owned());
        admin
            .batch_execute(&format!("create database {name} template {template}"))
            .await?;
        admin
            .execute("select pg_advisory_unlock($1)", &[&SETUP_LOCK])
            .await?;
        Ok(Self {
            url: with_database(server, &name),
            name,
        })
    }
}

/// The migrated template, made once per content of the migrations.
async fn template(admin: &Client, server: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for migration in maintenance::migrations() {
        hash.update(migration.sql.as_bytes());
    }
    let digest = hash.finalize();
    let digest = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
    let name = format!("snowpack_template_{digest:016x}");
    let there = admin
        .query_opt("select 1 from pg_database where datname = $1", &[&name])
        .await?;
    if there.is_none() {
        let draft = format!("{name}_draft");
        admin
            .batch_execute(&format!("drop database if exists {draft} with (force)"))
            .await?;
        admin
            .batch_execute(&format!("create database {draft}"))
            .await?;
        let pool = pg::Pool::connect(&with_database(server, &draft), 2, "template").await?;
        maintenance::migrate(&pool)
            .await
            .context("migrate the template")?;
        drop(pool);
        // The pool's connections may still be closing, and a database in use cannot be renamed.
        admin
            .execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
                &[&draft],
            )
            .await?;
        super::until("the template is free", async || {
            admin
                .batch_execute(&format!("alter database {draft} rename to {name}"))
                .await
                .is_ok()
        })
        .await;
    }
    Ok(name)
}

async fn drop_leftovers(admin: &Client) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let rows = admin
        .query(
            "select datname from pg_database where datname like 'snowpack_test_%'",
            &[],
        )
        .await?;
    for row in rows {
        let name: String = row.get(0);
        let made = name
            .split('_')
            .nth(2)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(now);
        if made + LEFTOVER_AFTER_SECONDS < now {
            admin
                .batch_execute(&format!("drop database if exists {name} with (force)"))
                .await?;
        }
    }
    Ok(())
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| format!("connect to {url}"))?;
    tokio::spawn(connection);
    Ok(client)
}

fn server_url() -> String {
    std::env::var("SNOWPACK_TEST_DATABASE_URL")
        .expect("SNOWPACK_TEST_DATABASE_URL names the test server; tests/run sets it")
}

fn with_database(server: &str, name: &str) -> String {
    let (base, _) = server
        .rsplit_once('/')
        .expect("the test server's url names a database");
    format!("{base}/{name}")
}
