//! The API's settings. Interfaces others call: names do not change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::TableName;
use runtime::Tls;

const EXAMPLES: &str = "\
Without a command it serves, with what the environment says.

Examples:
  SNOWPACK_AUTH=none snowpack-api                              try it on this machine
  snowpack-api serve --auth tokens --tokens-file tokens.toml   tokens in a file
  openssl rand -hex 32 | tee token | snowpack-api hash-token   a new token and its hash

Exit codes: 0 stopped by a signal or done, 1 failed, 2 bad usage.";

/// The REST API of Snowpack, and the loops that keep its control plane fresh
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Answer requests until SIGTERM
    Serve(Box<Serve>),
    /// Bring the database's schema to this version
    Migrate(Migrate),
    /// Wait until the database answers and has this version's schema
    WaitForDb(WaitForDb),
    /// Ask a running API for a dry run and read it back: is an installation whole?
    Check(Check),
    /// Read a token from stdin and print what the tokens file holds of it
    HashToken,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WaitForDb {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    /// Give up after so many seconds, 0 to 86400
    #[arg(
        long,
        default_value = "300",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=86_400)
    )]
    timeout: u64,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

impl WaitForDb {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The table to plan, as namespace.table [default: the first one of the table cache]
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<TableName>,
    /// Where the API is; a certificate is checked against the system's, or those in SSL_CERT_FILE
    #[arg(
        long,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        value_parser = crate::check::url
    )]
    pub(crate) url: reqwest::Url,
    /// File with the token to send
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long the API may take to become ready, 0 to 3600
    #[arg(
        long,
        default_value = "60",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=3_600)
    )]
    timeout: u64,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

impl Check {
    pub(crate) fn within(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// How callers say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Auth {
    /// Everybody may do everything: for one machine
    None,
    /// Bearer tokens of a file
    Tokens,
    /// JSON Web Tokens, checked against the keys of an identity provider
    Jwt,
}

/// Answer requests until SIGTERM
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) catalog: catalog::Args,
    #[command(flatten)]
    pub(crate) storage: storage::Args,
    #[command(flatten)]
    pub(crate) tables: steward::inventory::TablesArgs,
    #[command(flatten)]
    pub(crate) retention: steward::retention::RetentionArgs,
    #[command(flatten)]
    pub(crate) health: steward::health::SyncArgs,
    #[command(flatten)]
    pub(crate) policy: steward::PolicyArgs,
    #[command(flatten)]
    pub(crate) budget: steward::BudgetArgs,
    /// Where to answer; port 0 takes a free one
    #[arg(
        long,
        env = "SNOWPACK_API_ADDR",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS",
        value_parser = runtime::address
    )]
    pub(crate) api_addr: SocketAddr,
    /// PEM file with the certificate and those that vouch for it: callers speak TLS; read again
    /// when it changes
    #[arg(long, env = "SNOWPACK_API_TLS_CERT_FILE", value_name = "FILE")]
    api_tls_cert_file: Option<PathBuf>,
    /// PEM file with the certificate's key
    #[arg(long, env = "SNOWPACK_API_TLS_KEY_FILE", value_name = "FILE")]
    api_tls_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) auth: AuthArgs,
    /// Requests a second each caller may send, 1 to 100000; twice as many at once
    #[arg(
        long,
        env = "SNOWPACK_RATE_PER_SECOND",
        default_value = "50",
        value_name = "COUNT",
        value_parser = runtime::number(1..=100_000)
    )]
    rate_per_second: u64,
    /// Proxies in front that each add the caller's address to X-Forwarded-For, 0 to 10
    #[arg(
        long,
        env = "SNOWPACK_API_PROXIES",
        default_value = "0",
        value_name = "COUNT",
        value_parser = runtime::number(0..=10)
    )]
    api_proxies: u64,
    /// Between two syncs of the table cache with the catalog, 1 to 86400
    #[arg(
        long,
        env = "SNOWPACK_CACHE_SYNC_SECONDS",
        default_value = "300",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=86_400)
    )]
    cache_sync_seconds: u64,
    /// Not ready when the table cache is older, 1 to 864000 [default: three times the time
    /// between two syncs]
    #[arg(
        long,
        env = "SNOWPACK_CACHE_AGE_MAX_SECONDS",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=864_000)
    )]
    cache_age_max_seconds: Option<u64>,
    /// After SIGTERM, time to go on answering while load balancers look elsewhere, 0 to 600
    #[arg(
        long,
        env = "SNOWPACK_API_LINGER_SECONDS",
        default_value = "5",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=600)
    )]
    api_linger_seconds: u64,
    #[command(flatten)]
    pub(crate) kubernetes: crate::kubernetes::KubernetesArgs,
    #[command(flatten)]
    pub(crate) start: steward::start::StartArgs,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

impl Serve {
    pub(crate) fn rate_per_second(&self) -> u32 {
        u32::try_from(self.rate_per_second).unwrap_or(u32::MAX)
    }

    pub(crate) fn proxies(&self) -> usize {
        usize::try_from(self.api_proxies).unwrap_or(usize::MAX)
    }

    pub(crate) fn cache_sync_every(&self) -> Duration {
        Duration::from_secs(self.cache_sync_seconds)
    }

    pub(crate) fn cache_age_max(&self) -> Duration {
        let seconds = self.cache_age_max_seconds;
        Duration::from_secs(seconds.unwrap_or(3 * self.cache_sync_seconds))
    }

    /// The certificate, if there is one.
    pub(crate) fn tls(&self) -> Result<Option<Arc<Tls>>, runtime::Error> {
        Tls::open(
            (
                "SNOWPACK_API_TLS_CERT_FILE",
                self.api_tls_cert_file.as_deref(),
            ),
            (
                "SNOWPACK_API_TLS_KEY_FILE",
                self.api_tls_key_file.as_deref(),
            ),
        )
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_secs(self.api_linger_seconds)
    }
}

/// Who callers are.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(crate) struct AuthArgs {
    /// How callers say who they are
    #[arg(long, env = "SNOWPACK_AUTH", value_enum, value_name = "KIND")]
    pub(crate) auth: Auth,
    /// Allow `none` on an address that other machines reach
    #[arg(
        long,
        env = "SNOWPACK_AUTH_INSECURE",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) auth_insecure: bool,
    /// For `tokens`: a TOML file with [[token]] name, role, sha256 and, if wanted, expires; read
    /// again when it changes
    #[arg(long, env = "SNOWPACK_TOKENS_FILE", value_name = "FILE")]
    pub(crate) tokens_file: Option<PathBuf>,
    /// For `jwt`: where the provider's keys are, https except on this machine
    #[arg(long, env = "SNOWPACK_JWKS_URL", value_name = "URL")]
    pub(crate) jwks_url: Option<String>,
    /// For `jwt`: the `iss` a token must have
    #[arg(long, env = "SNOWPACK_JWT_ISSUER", value_name = "TEXT")]
    pub(crate) jwt_issuer: Option<String>,
    /// For `jwt`: the `aud` a token must have
    #[arg(long, env = "SNOWPACK_JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) jwt_audience: Option<String>,
    /// For `jwt`: the claim that holds reader, operator or admin, or a list with one of them;
    /// dots lead into objects
    #[arg(
        long,
        env = "SNOWPACK_JWT_ROLE_CLAIM",
        default_value = "snowpack_role",
        value_name = "NAME"
    )]
    pub(crate) jwt_role_claim: String,
    /// For `jwt`: the least time between two reads of the keys, 1 to 600
    #[arg(
        long,
        env = "SNOWPACK_JWKS_PAUSE_SECONDS",
        default_value = "10",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=600)
    )]
    jwks_pause_seconds: u64,
}

impl AuthArgs {
    pub(crate) fn jwks_pause(&self) -> Duration {
        Duration::from_secs(self.jwks_pause_seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn settings(command: &clap::Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(clap::Arg::get_env);
        let own = own.map(|name| name.to_string_lossy().into_owned());
        own.chain(command.get_subcommands().flat_map(settings))
            .collect()
    }

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        let all = settings(&Args::command());
        assert!(all.len() > 20, "{all:?}");
        for name in all {
            assert!(runtime::SETTINGS.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn the_cache_may_be_three_syncs_old_unless_told_otherwise() {
        let parse = |more: &[&str]| {
            let own = [crate::NAME, "--database-url=postgres://h/d", "--auth=none"];
            let serve = Serve::try_parse_from([&own, more].concat()).unwrap();
            serve.cache_age_max().as_secs()
        };
        assert_eq!(parse(&[]), 900);
        assert_eq!(parse(&["--cache-sync-seconds=7"]), 21);
        assert_eq!(parse(&["--cache-age-max-seconds=8"]), 8);
    }
}
