//! How a program is told where its database is.

use std::fmt;
use std::num::NonZeroU32;

/// Flattened into every program that needs Postgres.
#[derive(clap::Args, Clone)]
#[group(skip)]
pub struct Args {
    /// Where Postgres is: postgres://user:password@host:port/database
    #[arg(long, env = "SNOWPACK_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// Upper bound on pooled connections
    #[arg(
        long = "pg-connections-max",
        env = "SNOWPACK_PG_CONNECTIONS_MAX",
        default_value = "8"
    )]
    pub connections_max: NonZeroU32,
}

/// Flattened into every program that listens.
#[derive(clap::Args, Clone, Default)]
#[group(skip)]
pub struct ListenArgs {
    /// Where to listen when a pooler stands before Postgres: a direct url, or `off` to look only
    /// from time to time; default: the database url
    #[arg(long, env = "SNOWPACK_LISTEN_URL", hide_env_values = true)]
    pub listen_url: Option<String>,
}

impl fmt::Debug for ListenArgs {
    /// The url may hold a password, so it is never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenArgs")
            .field("listen_url", &self.listen_url.as_ref().map(|_| "***"))
            .finish()
    }
}

impl fmt::Debug for Args {
    /// The url may hold a password, so it is never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args")
            .field("database_url", &"***")
            .field("connections_max", &self.connections_max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_not_shown_in_debug_output() {
        let args = Args {
            database_url: "postgres://u:secret@h/d".to_owned(),
            connections_max: NonZeroU32::MIN,
        };
        assert!(!format!("{args:?}").contains("secret"));
        let args = ListenArgs {
            listen_url: Some("postgres://u:secret@h/d".to_owned()),
        };
        assert!(!format!("{args:?}").contains("secret"));
    }
}
