//! The database the demo and the benches work in: on a private Postgres, or a scratch one on the server given.

use anyhow::{Context, Result, bail};
use pg::Pool;
use uuid::Uuid;

use super::postgres::Postgres;
use super::steps::Steps;

/// Where a program makes a database of its own, to be dropped at its end
#[derive(Debug, clap::Args)]
pub(crate) struct ScratchServer {
    /// A Postgres to make a scratch database on, as a URL; without, a private one is started
    #[arg(
        long,
        env = "SNOWPACK_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) database_url: Option<String>,
}

/// A database nobody else uses. [`Home::close`] leaves nothing behind.
#[derive(Debug)]
pub(crate) enum Home {
    Private(Postgres),
    Scratch {
        server: Pool,
        url: String,
        name: String,
    },
}

impl Home {
    /// `purpose` is part of a scratch database's name.
    pub(crate) async fn open(
        purpose: &str,
        server: Option<&str>,
        steps: Steps<'_>,
    ) -> Result<Self> {
        match server {
            Some(url) => Self::scratch(purpose, url, steps).await,
            None => Self::private(purpose, steps).await,
        }
    }

    async fn private(purpose: &str, steps: Steps<'_>) -> Result<Self> {
        let step = steps.begin("starting a private Postgres");
        let fetching =
            |version: &str| step.note(format!("fetching Postgres {version} (once, about 15 MB)"));
        let postgres = Postgres::start(fetching).await?;
        step.done(&format!(
            "Postgres {} started, private to this {purpose}",
            postgres.version()
        ))?;
        Ok(Self::Private(postgres))
    }

    async fn scratch(purpose: &str, server_url: &str, steps: Steps<'_>) -> Result<Self> {
        let step = steps.begin("making a scratch database");
        let server = Pool::connect(server_url, 1, &format!("snowpack-{purpose}")).await?;
        let name = format!("snowpack_{purpose}_{}", Uuid::new_v4().simple());
        let url = with_database(server_url, &name)?;
        let create = format!("create database {name}");
        server
            .get()
            .await?
            .batch_execute(&create)
            .await
            .with_context(|| {
                format!(
                    "make a scratch database on {}; the {purpose} leaves the database given alone",
                    server.place()
                )
            })?;
        step.done(&format!(
            "scratch database {name} made on the server of SNOWPACK_DATABASE_URL"
        ))?;
        Ok(Self::Scratch { server, url, name })
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Private(postgres) => postgres.url(),
            Self::Scratch { url, .. } => url,
        }
    }

    /// Stops the private Postgres, or drops the scratch database.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Private(postgres) => postgres.stop(),
            Self::Scratch { server, name, .. } => {
                // Force: a worker that was just stopped may not have closed its connections yet.
                let drop = format!("drop database if exists {name} with (force)");
                server
                    .get()
                    .await?
                    .batch_execute(&drop)
                    .await
                    .with_context(|| format!("drop database {name}"))
            }
        }
    }
}

/// The same server, another database. Knows both forms a connection may be written in.
fn with_database(url: &str, name: &str) -> Result<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        if url.contains('=') {
            // The last word on a keyword wins.
            return Ok(format!("{url} dbname={name}"));
        }
        bail!("the database url does not begin with postgres://");
    };
    let (rest, settings) = match rest.split_once('?') {
        Some((rest, settings)) => (rest, format!("?{settings}")),
        None => (rest, String::new()),
    };
    let server = rest.split('/').next().unwrap_or(rest);
    Ok(format!("{scheme}://{server}/{name}{settings}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_is_replaced() {
        for (url, want) in [
            (
                "postgres://u:p@h:1/d?sslmode=disable",
                "postgres://u:p@h:1/x?sslmode=disable",
            ),
            ("postgres://u@h", "postgres://u@h/x"),
            (
                "postgresql:///d?host=/run/pg",
                "postgresql:///x?host=/run/pg",
            ),
            ("host=h user=u dbname=d", "host=h user=u dbname=d dbname=x"),
        ] {
            assert_eq!(with_database(url, "x").unwrap(), want);
            let read: tokio_postgres::Config = want.parse().unwrap();
            assert_eq!(read.get_dbname(), Some("x"));
        }
        assert!(with_database("somewhere", "x").is_err());
    }
}
